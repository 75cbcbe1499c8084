import type { Clock } from '../../core/clock.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { type Client, openClient } from '../redis/client.ts';
import { isVersionAtLeast, type ServerInfo } from '../redis/server-info.ts';
import { readTimeMs } from '../verify/expiry.ts';
import { fenceKey } from './fence-key.ts';

/** This fence in words, for the report. */
export const PAUSE_FENCE = 'CLIENT PAUSE WRITE';
/** Answers of the server after which a write that was sent before them, and is not answered, is held. */
const LOOKS = 3;

/** How a pause is told from one that has ended. */
export type PauseFence = {
  /** By the source's own clock, which is what ends it. */
  readonly untilMs: number;
  readonly runId: string;
};

/**
 * Looks whether writes can be paused, and let go again: a pause that nobody may end would outlast a cutover that failed.
 *
 * @throws what shows that they cannot
 */
export async function assertMayPause(client: Client, info: ServerInfo): Promise<void> {
  if (!isVersionAtLeast(info.version, 6, 2)) throw new Error('it cannot pause writes alone before 6.2.');
  // Whoever else has paused it loses that with our fence anyway.
  await unpauseWrites(client);
}

/** Pauses writes, or goes on with a pause; it ends no earlier than it was told. @throws what the source refused */
export async function pauseWrites(client: Client, durationMs: number): Promise<void> {
  await client.call('CLIENT', 'PAUSE', Math.max(1, durationMs), 'WRITE');
}

/** Lets writes go on. @throws what the source refused */
export async function unpauseWrites(client: Client): Promise<void> {
  await client.call('CLIENT', 'UNPAUSE');
}

/** Whether the pause holds: its time is not over, and a write is really held, whoever may have ended it. */
export async function isPauseStanding(
  client: Client,
  fence: PauseFence,
  { clock, info, slot }: { clock: Clock; info: ServerInfo; slot: number | undefined },
): Promise<boolean> {
  if (info.fields.get('run_id') !== fence.runId) return false;
  return (await readSourceTimeMs(client, clock)) < fence.untilMs && (await isWriteHeld(client, slot));
}

/**
 * Makes a pause longer, and sees that it had not ended before.
 *
 * @throws fence-lost when it had
 */
export async function extendPause(
  client: Client,
  fence: PauseFence,
  { clock, durationMs }: { clock: Clock; durationMs: number },
): Promise<PauseFence> {
  const nowMs = await readSourceTimeMs(client, clock);
  await pauseWrites(client, durationMs);
  if ((await readSourceTimeMs(client, clock)) < fence.untilMs) {
    return { ...fence, untilMs: nowMs + durationMs };
  }
  throw new MigrationError(
    'fence-lost',
    `The pause of writes at the source ${client.access.address} ended before it was made longer.`,
  );
}

/** Where the source does not tell its time, that of the host has to do. */
export async function readSourceTimeMs(client: Client, clock: Clock): Promise<number> {
  try {
    const time = await client.call('TIME');
    return Array.isArray(time) ? readTimeMs(time.map(Number)) : clock.nowMs();
  } catch (error) {
    if (!isMigrationError(error) || error.code !== 'source-permission-denied') throw error;
    return clock.nowMs();
  }
}

/** A DEL of a key that is not there changes nothing; behind a pause it is not answered. */
async function isWriteHeld(client: Client, slot: number | undefined): Promise<boolean> {
  await using probe = await openClient(client.access);
  let isAnswered = false;
  probe.call('DEL', fenceKey(client, slot)).then(
    () => {
      isAnswered = true;
    },
    () => {
      // A user that may not delete cannot tell; nor can the connection, which is closed below.
    },
  );
  for (let look = 0; look < LOOKS && !isAnswered; look++) await client.call('PING');
  return !isAnswered;
}
