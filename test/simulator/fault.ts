import type { StaticErrorSchema } from '@smithy/types';

/** An error that AWS itself would answer with: its code on the wire, HTTP status, and the member that holds the message. */
export class AwsFault extends Error {
  override name = 'AwsFault';
  readonly code: string;
  readonly status: number;
  readonly messageMember: string | undefined;

  constructor(options: { code: string; status: number; message: string; messageMember: string | undefined }) {
    super(options.message);
    this.code = options.code;
    this.status = options.status;
    this.messageMember = options.messageMember;
  }
}

/** How a service spells its errors: the query protocol has its own codes and statuses for many of them. */
export type Protocol = 'query' | 'json';

/**
 * A fault that the service's model knows, with code and status from the SDK's own schema.
 *
 * The query protocol takes both from the trait `awsQueryError` (`InvalidReplicationGroupStateFault` is
 * `InvalidReplicationGroupState`); JSON 1.1 takes the shape's name and 400 or 500, whatever that trait says.
 */
export function modelledFault(protocol: Protocol, schema: StaticErrorSchema, message: string): AwsFault {
  const traits: unknown = schema[3];
  const isRecord = typeof traits === 'object' && traits !== null;
  const query: unknown = isRecord && 'awsQueryError' in traits ? traits.awsQueryError : undefined;
  const isServerSide = isRecord && 'error' in traits && traits.error === 'server';
  const messageMember = schema[4].find((member) => member.toLowerCase() === 'message');
  const status = isServerSide ? 500 : 400;
  if (protocol === 'query' && Array.isArray(query)) {
    return new AwsFault({
      code: String(query[0]),
      status: Number(query[1]),
      message,
      messageMember: 'Message',
    });
  }
  return new AwsFault({ code: schema[2], status, message, messageMember });
}

/** Errors that every AWS service answers with and that no model lists: code to status and usual text. */
const GENERAL_FAULTS = {
  Throttling: { status: 400, message: 'Rate exceeded' },
  ThrottlingException: { status: 400, message: 'Rate exceeded' },
  AccessDenied: { status: 403, message: 'Access denied' },
  AccessDeniedException: { status: 400, message: 'Access denied' },
  ExpiredToken: { status: 403, message: 'The security token included in the request is expired' },
  ExpiredTokenException: { status: 400, message: 'The security token included in the request is expired' },
  InternalFailure: { status: 500, message: 'The request processing has failed because of an unknown error.' },
  ServiceUnavailable: {
    status: 503,
    message: 'The request has failed due to a temporary failure of the server.',
  },
  InvalidClientTokenId: { status: 403, message: 'The security token included in the request is invalid.' },
  UnrecognizedClientException: {
    status: 400,
    message: 'The security token included in the request is invalid.',
  },
  MissingAuthenticationToken: { status: 403, message: 'Request is missing Authentication Token' },
};

/** The code of an error that no model lists. */
export type GeneralCode = keyof typeof GENERAL_FAULTS;

/** Whether this is the code of an error that no model lists. */
export function isGeneralCode(code: string): code is GeneralCode {
  return code in GENERAL_FAULTS;
}

/** A fault that no model lists: throttling, access denied, expired token, 500, … */
export function generalFault(code: GeneralCode, message?: string): AwsFault {
  const known = GENERAL_FAULTS[code];
  return new AwsFault({
    code,
    status: known.status,
    message: message ?? known.message,
    messageMember: 'message',
  });
}

/** The validation error of a JSON service, in its usual words. */
export function validationFault(options: { member: string; value: string; constraint: string }): AwsFault {
  const { member, value, constraint } = options;
  return new AwsFault({
    code: 'ValidationException',
    status: 400,
    message:
      `1 validation error detected: Value '${value}' at '${member}' failed to satisfy constraint: ` +
      `Member must satisfy ${constraint}`,
    messageMember: 'message',
  });
}
