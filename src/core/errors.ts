import { ERROR_CODES, type ErrorCode } from './error-codes.ts';

/**
 * The one error of this project: what happened, with the value, in the user's spelling; then what to do.
 *
 * Match on `code`, never on the message or with `instanceof`: the action and the agent are two bundles, each with
 * its own copy of this class.
 */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  readonly code: ErrorCode;
  readonly remedy: string;
  readonly retryable: boolean;

  constructor(
    code: ErrorCode,
    message: string,
    options: { remedy?: string | undefined; retryable?: boolean | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy ?? ERROR_CODES[code].remedy;
    this.retryable = options.retryable ?? ERROR_CODES[code].retryable;
  }
}

/** What of a {@link MigrationError} crosses a border as JSON: its cause stays behind in the log. */
export type ErrorRecord = { code: ErrorCode; message: string; remedy: string; retryable: boolean };

/** Returns the error as plain data for a report, a state file or a reply of the host. */
export function toErrorRecord(error: unknown): ErrorRecord {
  const { code, message, remedy, retryable } = toMigrationError(error);
  return { code, message, remedy, retryable };
}

/** Turns data that crossed a border back into an error that can be thrown. */
export function fromErrorRecord(record: ErrorRecord): MigrationError {
  return new MigrationError(record.code, record.message, {
    remedy: record.remedy,
    retryable: record.retryable,
  });
}

/** Returns the error itself when it is one of ours, an `internal` error around it when it is anything else. */
export function toMigrationError(error: unknown): MigrationError {
  if (isMigrationError(error)) return error;
  return new MigrationError('internal', errorText(error), { cause: error });
}

/** Tells our errors apart by shape, because the other bundle's class is not ours. */
export function isMigrationError(error: unknown): error is MigrationError {
  return (
    error instanceof Error &&
    error.name === 'MigrationError' &&
    'code' in error &&
    typeof error.code === 'string' &&
    error.code in ERROR_CODES
  );
}

/** The text of anything that can be thrown: the message of an error, else the value in words. */
export function errorText(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(errorText).join('; ');
  return error instanceof Error ? error.message : String(error);
}
