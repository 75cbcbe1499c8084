import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import { writeFileOnce } from '../job/files.ts';
import { fateOf, ownIdentity, processIdentitySchema } from '../job/process-identity.ts';

const LOCK_POLL_MS = 50;
const LOCK_WAIT_MS = 20_000;
/** A lock that names no holder was never whole: nobody leaves one for so long. */
const TORN_AFTER_MS = 5000;

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
    if (isAbandoned(path, clock)) takeAway(path, clock);
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

/** The lock appears with its holder's name in it, or not at all: a crash in between leaves no empty one. */
function tryLock(path: string): boolean {
  return writeFileOnce(path, JSON.stringify(ownIdentity()));
}

/** Of several that saw it abandoned one takes it; a lock that somebody made meanwhile is put back. */
function takeAway(path: string, clock: Clock): void {
  const taken = `${path}.taken.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    renameSync(path, taken);
    if (!isAbandoned(taken, clock)) linkSync(taken, path);
  } catch {
    // Somebody else was faster; the next look shows whose the lock is now.
  } finally {
    rmSync(taken, { force: true });
  }
}

function isAbandoned(path: string, clock: Clock): boolean {
  try {
    const holder = processIdentitySchema.safeParse(readJson(path));
    if (holder.success) return fateOf(holder.data) !== 'alive';
    return clock.nowMs() - statSync(path).mtimeMs > TORN_AFTER_MS;
  } catch {
    // Just released: try again.
    return false;
  }
}

function readJson(path: string): unknown {
  const text = readFileSync(path, 'utf8');
  try {
    return JSON.parse(text);
  } catch {
    // A torn file; its age decides.
    return undefined;
  }
}
