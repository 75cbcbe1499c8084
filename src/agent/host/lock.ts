import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { fateOf, ownIdentity, processIdentitySchema } from '../job/process-identity.ts';

const LOCK_POLL_MS = 50;
const LOCK_WAIT_MS = 20_000;

/**
 * Runs `work` while holding a lock file, so that two commands of two runners do not start the same job twice.
 *
 * A lock whose holder is gone is taken over.
 *
 * @throws command-timeout when another process holds it for longer than 20 seconds; host-state-unwritable
 */
export async function withLock<Result>(
  path: string,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
  work: () => Promise<Result>,
): Promise<Result> {
  const deadlineMs = clock.nowMs() + LOCK_WAIT_MS;
  while (!tryLock(path)) {
    if (isAbandoned(path)) rmSync(path, { force: true });
    else if (clock.nowMs() > deadlineMs) {
      throw new MigrationError('command-timeout', `Another command has held ${path} for 20 seconds.`);
    } else await clock.sleep(LOCK_POLL_MS, signal);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

function tryLock(path: string): boolean {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(path, 'wx', 0o600);
    try {
      writeSync(file, JSON.stringify(ownIdentity()));
    } finally {
      closeSync(file);
    }
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw new MigrationError('host-state-unwritable', `Cannot write ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

function isAbandoned(path: string): boolean {
  try {
    const holder = processIdentitySchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
    return holder.success && fateOf(holder.data) !== 'alive';
  } catch {
    // Just released, or not yet filled in: ask again.
    return false;
  }
}
