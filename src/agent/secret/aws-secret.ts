import { AwsV4Signer } from 'aws4fetch';
import { z } from 'zod';
import type { SecretReference } from '../../contract/endpoint.ts';
import { systemClock } from '../../core/clock.ts';
import { errorText } from '../../core/errors.ts';
import { retry } from '../../core/retry.ts';
import { readAwsCredentials } from './aws-credentials.ts';
import { parseJsonQuietly, type SecretContext, secretUnreadable } from './reading.ts';

type AwsReference = Extract<SecretReference, { from: 'ssm' | 'secretsmanager' }>;

/** How long one call may take, and the pauses before it is tried again when AWS is throttling or failing. */
const CALL_TIMEOUT_MS = 10_000;
const RETRY_DELAYS_MS = [200, 1000, 3000];

const parameterSchema = z.object({ Parameter: z.object({ Value: z.string() }) });
const secretSchema = z.object({ SecretString: z.string().optional() });
/** AWS JSON 1.1 errors: some services write the message with a capital. */
const faultSchema = z.object({
  __type: z.string().optional(),
  message: z.string().optional(),
  Message: z.string().optional(),
});

/**
 * Reads a parameter of the SSM Parameter Store, decrypted where it is a SecureString.
 *
 * @throws secret-unreadable
 */
export async function readParameter(
  reference: Extract<SecretReference, { from: 'ssm' }>,
  context: SecretContext,
): Promise<string> {
  const reply = await callAws(reference, context, {
    service: 'ssm',
    target: 'AmazonSSM.GetParameter',
    body: { Name: reference.name, WithDecryption: true },
  });
  const parameter = parameterSchema.safeParse(reply);
  if (!parameter.success) throw secretUnreadable(reference, 'the answer of SSM holds no value.');
  return parameter.data.Parameter.Value;
}

/**
 * Reads a secret of Secrets Manager, or one field of it where the secret is a JSON object.
 *
 * @throws secret-unreadable
 */
export async function readSecretsManagerSecret(
  reference: Extract<SecretReference, { from: 'secretsmanager' }>,
  context: SecretContext,
): Promise<string> {
  const reply = await callAws(reference, context, {
    service: 'secretsmanager',
    target: 'secretsmanager.GetSecretValue',
    body: { SecretId: reference.name },
  });
  const text = secretSchema.safeParse(reply).data?.SecretString;
  if (text === undefined) throw secretUnreadable(reference, 'it is binary; a text is needed.');
  if (reference.field === undefined) return text;
  const fields = z.record(z.string(), z.unknown()).safeParse(parseJsonQuietly(text)).data;
  if (fields === undefined)
    throw secretUnreadable(reference, 'it is not a JSON object, so it has no fields.');
  const value = fields[reference.field];
  if (typeof value !== 'string') {
    throw secretUnreadable(reference, `its JSON has no text in the field ${reference.field}.`);
  }
  return value;
}

type AwsCall = { service: 'ssm' | 'secretsmanager'; target: string; body: object };

/** A fault that may pass: throttling, a server error, no answer. */
class PassingFault extends Error {}

async function callAws(reference: AwsReference, context: SecretContext, call: AwsCall): Promise<unknown> {
  const { signal, clock = systemClock } = context;
  try {
    return await retry(() => callAwsOnce(reference, context, call), {
      policy: { delaysMs: RETRY_DELAYS_MS, shouldRetry: (error) => error instanceof PassingFault },
      clock,
      signal,
    });
  } catch (error) {
    throw error instanceof PassingFault ? secretUnreadable(reference, error.message) : error;
  }
}

async function callAwsOnce(
  reference: AwsReference,
  context: SecretContext,
  { service, target, body }: AwsCall,
): Promise<unknown> {
  const { env, signal, fetch: send = fetch } = context;
  const signed = await new AwsV4Signer({
    ...(await readAwsCredentials(reference, context)),
    method: 'POST',
    url: endpointOf(service, reference.region, env),
    service,
    region: reference.region,
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target },
    body: JSON.stringify(body),
  }).sign();
  const timeout = AbortSignal.timeout(CALL_TIMEOUT_MS);
  let response: Response;
  let text: string;
  try {
    response = await send(signed.url, {
      ...signed,
      body: JSON.stringify(body),
      signal: AbortSignal.any([signal, timeout]),
    });
    text = await response.text();
  } catch (error) {
    signal.throwIfAborted();
    throw new PassingFault(`no answer from ${signed.url.host}: ${causeText(error)}`);
  }
  const reply = parseJsonQuietly(text);
  if (response.ok) return reply;
  const fault = faultSchema.safeParse(reply).data;
  const name = fault?.__type?.replace(/^.*#/, '') ?? `HTTP ${response.status}`;
  const reason = `${name}: ${fault?.message ?? fault?.Message ?? 'no message'}`;
  if (response.status >= 500 || response.status === 429 || /Throttl/.test(name))
    throw new PassingFault(reason);
  throw secretUnreadable(reference, reason);
}

/** The variables and their order are those of the AWS SDKs. */
function endpointOf(service: AwsCall['service'], region: string, env: SecretContext['env']): string {
  const own = service === 'ssm' ? env.AWS_ENDPOINT_URL_SSM : env.AWS_ENDPOINT_URL_SECRETS_MANAGER;
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  return own ?? env.AWS_ENDPOINT_URL ?? `https://${service}.${region}.${domain}/`;
}

/** `fetch` says "fetch failed"; why is in its cause. */
function causeText(error: unknown): string {
  return errorText(error instanceof Error && error.cause !== undefined ? error.cause : error);
}
