import type { ErrorCode } from '../../core/error-codes.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';

/** A call as messages name it. */
export type AwsCall = {
  /** The IAM action, such as `elasticache:StartMigration`. */
  readonly action: string;
  /** What the call is about in the user's words, such as `replication group sessions`. */
  readonly about: string;
  readonly signal: AbortSignal;
};

/**
 * Makes one call and turns whatever it throws into an error of ours.
 *
 * @throws the signal's reason once it is aborted, else what {@link toAwsError} makes of the failure
 */
export async function callAws<Output>(call: AwsCall, send: () => Promise<Output>): Promise<Output> {
  call.signal.throwIfAborted();
  try {
    return await send();
  } catch (error) {
    call.signal.throwIfAborted();
    throw toAwsError(error, call);
  }
}

/**
 * Maps an error of the SDK, of either service, to a code of the table.
 *
 * Its code is aws-credentials-missing, aws-credentials-expired, aws-access-denied, aws-throttled, aws-unavailable, the one of the fault, or
 * `internal` for an answer that no rule knows.
 */
export function toAwsError(error: unknown, call: Pick<AwsCall, 'action' | 'about'>): MigrationError {
  if (isMigrationError(error)) return error;
  const name = awsErrorName(error);
  const text = errorText(error);
  const told = text === '' || text === name || text === 'UnknownError' ? name : `${name}: ${text}`;
  const code = faultCode(name, call) ?? generalCode(error, name);
  if (code === 'aws-access-denied') {
    const message = `The role of this job may not call ${call.action} for ${call.about} (${told}).`;
    const remedy = `Allow ${call.action} in the policy of the role; the README lists the permissions by phase.`;
    return new MigrationError(code, message, { remedy, cause: error });
  }
  return new MigrationError(code, `${call.action} for ${call.about} failed: ${told}`, { cause: error });
}

/** The name of an SDK error: the shape's name in the model, the code on the wire, or of a socket error its errno. */
export function awsErrorName(error: unknown): string {
  if (!(error instanceof Error)) return 'UnknownError';
  if (error.name !== 'Error') return error.name;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

/**
 * Faults of ElastiCache and SSM by both their spellings: the model's name and the code on the wire
 * (`InvalidReplicationGroupStateFault` travels as `InvalidReplicationGroupState`).
 *
 * Source: ElastiCache API reference (TestMigration, StartMigration, CompleteMigration, CreateSnapshot,
 * ModifyCacheParameterGroup), SSM API
 * reference (SendCommand).
 */
const FAULTS: Readonly<Record<string, ErrorCode>> = {
  ReplicationGroupNotFoundFault: 'replication-group-not-found',
  InvalidReplicationGroupStateFault: 'replication-group-not-available',
  InvalidReplicationGroupState: 'replication-group-not-available',
  InvalidCacheClusterStateFault: 'replication-group-not-available',
  InvalidCacheClusterState: 'replication-group-not-available',
  ReplicationGroupAlreadyUnderMigrationFault: 'replication-group-migrating',
  ReplicationGroupNotUnderMigrationFault: 'replication-group-not-migrating',
  InvalidParameterValueException: 'replication-group-unsuitable',
  InvalidParameterValue: 'replication-group-unsuitable',
  InvalidParameterCombinationException: 'replication-group-unsuitable',
  InvalidParameterCombination: 'replication-group-unsuitable',
  CacheParameterGroupNotFoundFault: 'parameter-group-unmodifiable',
  CacheParameterGroupNotFound: 'parameter-group-unmodifiable',
  InvalidCacheParameterGroupStateFault: 'parameter-group-unmodifiable',
  InvalidCacheParameterGroupState: 'parameter-group-unmodifiable',
  SnapshotAlreadyExistsFault: 'snapshot-failed',
  SnapshotFeatureNotSupportedFault: 'snapshot-failed',
  SnapshotQuotaExceededFault: 'snapshot-failed',
  SnapshotNotFoundFault: 'snapshot-failed',
  InvalidSnapshotStateFault: 'snapshot-failed',
  InvalidSnapshotState: 'snapshot-failed',
  InvalidInstanceId: 'instance-not-managed',
  InvalidInstanceInformationFilterValue: 'instance-not-managed',
  UnsupportedPlatformType: 'instance-platform-unsupported',
  InvalidDocument: 'ssm-document-unsuitable',
  InvalidParameters: 'ssm-document-unsuitable',
};

/** A parameter that ElastiCache refuses is about the group, unless the call is about something else. */
function faultCode(name: string, { action }: Pick<AwsCall, 'action'>): ErrorCode | undefined {
  const code = FAULTS[name];
  if (code !== 'replication-group-unsuitable') return code;
  if (action.includes('ParameterGroup')) return 'parameter-group-unmodifiable';
  return action.includes('Snapshot') ? 'snapshot-failed' : code;
}

/** Errors that any AWS service answers with, and those of the way there. */
function generalCode(error: unknown, name: string): ErrorCode {
  if (EXPIRY_ERRORS.has(name)) return 'aws-credentials-expired';
  if (CREDENTIAL_ERRORS.has(name)) return 'aws-credentials-missing';
  if (DENIALS.has(name)) return 'aws-access-denied';
  if (THROTTLES.has(name)) return 'aws-throttled';
  const status = httpStatus(error);
  if (status === 429) return 'aws-throttled';
  if (status !== undefined && status >= 500) return 'aws-unavailable';
  if (status === undefined && isConnectionError(error, name)) return 'aws-unavailable';
  return 'internal';
}

const EXPIRY_ERRORS = new Set(['ExpiredToken', 'ExpiredTokenException', 'RequestExpired']);

const CREDENTIAL_ERRORS = new Set([
  'CredentialsProviderError',
  'TokenProviderError',
  'InvalidClientTokenId',
  'UnrecognizedClientException',
  'InvalidCredentialsException',
  'InvalidSignatureException',
  'SignatureDoesNotMatch',
  'IncompleteSignature',
  'MissingAuthenticationToken',
  'MissingAuthenticationTokenException',
]);

const DENIALS = new Set(['AccessDenied', 'AccessDeniedException', 'UnauthorizedOperation', 'OptInRequired']);

const THROTTLES = new Set([
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'RequestLimitExceeded',
  'TooManyRequestsException',
  'APICallRateForCustomerExceededFault',
  'APICallRateForCustomerExceeded',
]);

const CONNECTION_ERRORS = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'TimeoutError',
  'NetworkingError',
]);

function httpStatus(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  const metadata = error.$metadata;
  if (typeof metadata !== 'object' || metadata === null || !('httpStatusCode' in metadata)) return undefined;
  return typeof metadata.httpStatusCode === 'number' ? metadata.httpStatusCode : undefined;
}

function isConnectionError(error: unknown, name: string): boolean {
  if (CONNECTION_ERRORS.has(name)) return true;
  // A host with several addresses fails with all their errors in one.
  return (
    error instanceof AggregateError && error.errors.some((one) => CONNECTION_ERRORS.has(awsErrorName(one)))
  );
}
