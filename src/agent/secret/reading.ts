import type { Endpoint, SecretReference } from '../../contract/endpoint.ts';
import { assertNever } from '../../core/assert.ts';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import type { SealedFor } from './sealing-key.ts';

/** What a secret is wanted for: a sealed one opens for nothing else. */
export type SecretUse = { readonly endpoint: Endpoint; readonly sealedFor?: SealedFor };

/** What the reading of a secret needs of its surroundings. */
export type SecretContext = {
  /** The environment of the process; the standard AWS SDK variables are read from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Without it sealed secrets do not open. */
  readonly use?: SecretUse;
  /** The machine's own where they are left out. */
  readonly fetch?: typeof fetch;
  readonly clock?: Clock;
};

/** The error for a secret that could not be had; `reason` must not quote the value. */
export function secretUnreadable(reference: SecretReference, reason: string): MigrationError {
  return new MigrationError('secret-unreadable', `Cannot read the secret ${nameOf(reference)}: ${reason}`);
}

/** A secret as inputs name it: `ssm:/redis/source`, `secretsmanager:redis#password`. */
export function secretName(reference: SecretReference): string {
  switch (reference.from) {
    case 'file':
      return `file:${reference.path}`;
    case 'env':
    case 'sealed':
      return `env:${reference.name}`;
    case 'ssm':
      return `ssm:${reference.name}`;
    case 'secretsmanager':
      return `secretsmanager:${reference.name}${reference.field === undefined ? '' : `#${reference.field}`}`;
    default:
      return assertNever(reference);
  }
}

/**
 * Parses JSON that may hold a secret; undefined where it is not JSON.
 *
 * The error of JSON.parse quotes the text it fails on, so it must reach neither a message nor a log.
 */
export function parseJsonQuietly(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function nameOf(reference: SecretReference): string {
  return 'region' in reference ? `${secretName(reference)} (${reference.region})` : secretName(reference);
}
