import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { AwsFault, generalFault, isGeneralCode } from './fault.ts';
import type { FaultSource } from './fault-rules.ts';
import type { Caller, ServedOperation, Service } from './service.ts';
import type { Identities } from './sts.ts';
import { readJsonInput, readQueryInput, WireMismatch, writeJsonAnswer, writeXmlAnswer } from './wire.ts';

/** One call as the simulator saw it, in the order of arrival. */
export type RecordedCall = {
  readonly service: string;
  readonly operation: string;
  /** ARN of the identity that called. */
  readonly caller: string;
  /** The input in the SDK's shape. */
  readonly input: Readonly<Record<string, unknown>>;
  /** `ok`, the error code on the wire, or `dropped`; `running` until the answer is written. */
  readonly outcome: string;
};

/** What the HTTP side needs from the rest of the simulator. */
export type ServerOptions = {
  region: string;
  services: readonly Service[];
  identities: Identities;
  faults: FaultSource;
  calls: RecordedCall[];
  /** Collects what neither AWS nor its clients would do: requests and answers that do not fit their schemas. */
  complaints: string[];
};

const MAX_BODY_BYTES = 1024 * 1024;
/** Source: STS API reference, "no permissions are required to perform this operation". */
const ALWAYS_ALLOWED = 'GetCallerIdentity';
const SIMULATOR_ERROR = 'SimulatorError';

/** Listens on a free loopback port. */
export async function listen(options: ServerOptions): Promise<{ url: string; server: Server }> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      options.complaints.push(String(error));
      response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The simulator has no TCP address');
  return { url: `http://127.0.0.1:${address.port}`, server };
}

/** A request that has found its operation. */
type Call = { service: Service; operation: ServedOperation; name: string; body: string; caller: Caller };

async function answer(
  options: ServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const requestId = randomUUID();
  const body = await readBody(request);
  let service = options.services.find((candidate) => candidate.name === 'sts');
  try {
    const scope = readCredentialScope(request, body);
    service = options.services.find((candidate) => candidate.name === scope.service);
    if (service === undefined) {
      throw new WireMismatch(
        `The simulator serves elasticache, secretsmanager, ssm and sts, not ${scope.service}`,
      );
    }
    if (scope.region !== undefined && scope.region !== options.region) {
      throw new WireMismatch(`The request is for ${scope.region}, the simulator plays ${options.region}`);
    }
    const name = operationName(service, request, body);
    const operation = service.operations.get(name);
    if (operation === undefined)
      throw new WireMismatch(`The simulator does not serve ${service.name} ${name}`);
    const caller = identify(options.identities, service, scope.accessKeyId);
    const answered = await perform(options, { service, operation, name, body, caller }, requestId);
    if (answered === 'dropped') response.destroy();
    else send(response, { status: 200, body: answered, protocol: service.protocol, requestId });
  } catch (error) {
    const fault = asFault(options, error);
    const protocol = service?.protocol ?? 'query';
    const text =
      protocol === 'json'
        ? jsonError(fault)
        : xmlError(fault, { xmlNamespace: service?.xmlNamespace ?? '', requestId });
    send(response, { status: fault.status, body: text, protocol, requestId });
  }
}

/** Does one call and writes its line in the record. */
async function perform(options: ServerOptions, call: Call, requestId: string): Promise<string> {
  const { service, operation, name, caller } = call;
  const input =
    service.protocol === 'json'
      ? readJsonInput(operation.schema[4], call.body)
      : readQueryInput(operation.schema[4], new Map(new URLSearchParams(call.body)));
  const recorded = {
    service: service.name,
    operation: name,
    caller: caller.arn,
    input: { ...Object(input) },
    outcome: 'running',
  };
  options.calls.push(recorded);
  try {
    if (name !== ALWAYS_ALLOWED && caller.allows?.(recorded) === false) {
      const code = service.protocol === 'json' ? 'AccessDeniedException' : 'AccessDenied';
      throw injectedFault(service, { operation: name, code, caller });
    }
    const rule = options.faults.takeCallFault(name);
    if (rule !== undefined && 'error' in rule) {
      throw injectedFault(service, { operation: name, code: rule.error, message: rule.message, caller });
    }
    if (rule !== undefined && rule.drop === 'request') {
      recorded.outcome = 'dropped';
      return 'dropped';
    }
    const output = await operation.handle(input, caller);
    const text =
      service.protocol === 'json'
        ? writeJsonAnswer(operation.schema, output)
        : writeXmlAnswer({
            operation: operation.schema,
            output,
            xmlNamespace: service.xmlNamespace,
            requestId,
          });
    recorded.outcome = rule === undefined ? 'ok' : 'dropped';
    return rule === undefined ? text : 'dropped';
  } catch (error) {
    recorded.outcome = error instanceof AwsFault ? error.code : SIMULATOR_ERROR;
    throw error;
  }
}

/**
 * The fault of a rule, in the words of its service.
 *
 * @throws Error for a code that neither the service's model nor the list of general errors knows
 */
export function injectedFault(
  service: Service,
  rule: { operation: string; code: string; message?: string | undefined; caller?: Caller },
): AwsFault {
  const { operation, code, caller } = rule;
  const action = `${service.name}:${operation}`;
  const denial =
    `User: ${caller?.arn ?? 'unknown'} is not authorized to perform: ${action} ` +
    `because no identity-based policy allows the ${action} action`;
  const message = rule.message ?? (code.startsWith('AccessDenied') ? denial : undefined);
  const modelled = service.modelled(
    code,
    message ?? (code.startsWith('Throttling') ? 'Rate exceeded' : code),
  );
  if (modelled !== undefined) return modelled;
  if (isGeneralCode(code)) return generalFault(code, message);
  throw new Error(`${service.name} has no error ${code}`);
}

/** Whatever is no fault of AWS is one of the simulator or its caller: loud, and never retried by a client (400). */
function asFault(options: ServerOptions, error: unknown): AwsFault {
  if (error instanceof AwsFault) return error;
  const message = error instanceof Error ? error.message : String(error);
  options.complaints.push(message);
  return new AwsFault({ code: SIMULATOR_ERROR, status: 400, message, messageMember: 'message' });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > MAX_BODY_BYTES) throw new Error(`A request has more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

type Scope = { service: string; region: string | undefined; accessKeyId: string | undefined };

/**
 * ```
 * Authorization: AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
 * ```
 * Only AssumeRoleWithWebIdentity comes without a signature. Signatures themselves are not verified.
 */
function readCredentialScope(request: IncomingMessage, body: string): Scope {
  const credential = /Credential=([^/\s]+)\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request/.exec(
    request.headers.authorization ?? '',
  );
  if (credential) {
    const [, accessKeyId, region, service] = credential;
    return { accessKeyId, region, service: service ?? '' };
  }
  if (new URLSearchParams(body).get('Action') === 'AssumeRoleWithWebIdentity') {
    return { service: 'sts', region: undefined, accessKeyId: undefined };
  }
  throw generalFault('MissingAuthenticationToken');
}

function identify(identities: Identities, service: Service, accessKeyId: string | undefined): Caller {
  if (accessKeyId === undefined) return { arn: 'anonymous' };
  const identity = identities.get(accessKeyId);
  if (identity !== undefined) return identity;
  throw generalFault(service.protocol === 'json' ? 'UnrecognizedClientException' : 'InvalidClientTokenId');
}

function operationName(service: Service, request: IncomingMessage, body: string): string {
  if (service.protocol === 'query') return new URLSearchParams(body).get('Action') ?? '';
  const target = request.headers['x-amz-target'];
  return typeof target === 'string' ? target.replace(/^(AmazonSSM|secretsmanager)\./, '') : '';
}

function send(
  response: ServerResponse,
  answer: { status: number; body: string; protocol: Service['protocol']; requestId: string },
): void {
  response.writeHead(answer.status, {
    'content-type': answer.protocol === 'json' ? 'application/x-amz-json-1.1' : 'text/xml',
    'x-amzn-requestid': answer.requestId,
  });
  response.end(answer.body);
}

/** Some faults carry no message at all in their schema; then the answer has none either. */
function jsonError(fault: AwsFault): string {
  const message = fault.messageMember === undefined ? {} : { [fault.messageMember]: fault.message };
  return JSON.stringify({ __type: fault.code, ...message });
}

function xmlError(fault: AwsFault, options: { xmlNamespace: string; requestId: string }): string {
  const type = fault.status >= 500 ? 'Receiver' : 'Sender';
  return (
    `<ErrorResponse xmlns="${options.xmlNamespace}"><Error><Type>${type}</Type><Code>${fault.code}</Code>` +
    `<Message>${escapeXml(fault.message)}</Message></Error><RequestId>${options.requestId}</RequestId></ErrorResponse>`
  );
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
