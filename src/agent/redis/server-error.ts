import type { ErrorCode } from '../../core/error-codes.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import type { Access } from './access.ts';

type Reason =
  | 'unreachable'
  | 'auth-failed'
  | 'permission-denied'
  | 'tls-failed'
  | 'not-ready'
  | 'protocol-error';

/**
 * What a refused connection or an error reply means, in the order in which they are tried.
 *
 * The texts are those of redis 5.0-8.0 and valkey 7.2-9.1 (networking.c, acl.c, server.c) and of Node's net and tls.
 */
const REASONS: readonly { pattern: RegExp; reason: Reason }[] = [
  { pattern: /^-?(WRONGPASS|NOAUTH)\b/, reason: 'auth-failed' },
  { pattern: /^-?ERR (invalid password|Client sent AUTH, but no password is set)/, reason: 'auth-failed' },
  { pattern: /^-?ERR AUTH <password> called without any password configured/, reason: 'auth-failed' },
  { pattern: /^-?ERR operation not permitted/, reason: 'auth-failed' },
  { pattern: /^-?NOPERM\b/, reason: 'permission-denied' },
  { pattern: /^-?ERR unknown command/i, reason: 'permission-denied' },
  {
    pattern:
      /^-?(LOADING|BUSY|MASTERDOWN|NOMASTERLINK|TRYAGAIN|CLUSTERDOWN|MOVED|ASK|UNBLOCKED|NOREPLICAS|MISCONF)\b/,
    reason: 'not-ready',
  },
  { pattern: /^-?DENIED\b/, reason: 'unreachable' },
  { pattern: /^-?ERR max number of clients/, reason: 'not-ready' },
  {
    pattern: /certificate|\bCERT_|\bERR_TLS|\bERR_SSL|SSL routines|EPROTO|DEPTH_ZERO|self.signed/i,
    reason: 'tls-failed',
  },
  { pattern: /disconnected before secure TLS connection/, reason: 'tls-failed' },
  { pattern: /ECONNREFUSED|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN/, reason: 'unreachable' },
  {
    pattern: /ECONNRESET|EPIPE|ECONNABORTED|closed|isn't writeable|timed out|timeout/i,
    reason: 'unreachable',
  },
];

/**
 * Names what went wrong between the host and a server; errors that already have a name pass through.
 *
 * @param doing What was tried, to stand in the message: `connecting`, `reading INFO`.
 */
export function toServerError(
  { side, address }: Pick<Access, 'side' | 'address'>,
  doing: string,
  error: unknown,
): MigrationError {
  if (isMigrationError(error)) return error;
  const text = errorText(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (/^-?READONLY\b/.test(text)) {
    return new MigrationError('target-read-only', `The ${side} ${address} refused ${doing}: ${text}`, {
      cause: error,
    });
  }
  const reason = REASONS.find(({ pattern }) => pattern.test(text) || pattern.test(code))?.reason;
  const errorCode: ErrorCode = `${side}-${reason ?? 'protocol-error'}`;
  return new MigrationError(errorCode, `The ${side} ${address} failed while ${doing}: ${text || code}`, {
    cause: error,
  });
}
