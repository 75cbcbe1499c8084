import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import type { SiblingJobs } from '../job/context.ts';
import { readJsonIfThere, writeFileAtomically } from '../job/files.ts';
import { oldestOpen } from './dirty-copy.ts';
import type { ScanSession } from './session.ts';

/*
 * How another job of the migration learns that the target has everything that the source had at some moment. There is
 * no offset to compare, so it asks the sync, by files in the folder of the migration:
 *
 *   scan/wanted.json    by who asks: a random id
 *   scan/reached.json   by the sync: the last id after which the target had everything
 *
 * The sync answers when, after it has seen the id, it has looked for what no event tells, has had a PING come back on
 * its subscription behind all events of before, and then has nothing left that is dirty or on its way. With writes
 * fenced that is everything.
 */

const POLL_MS = 20;
const idSchema = z.strictObject({ id: z.string() });

/** Who waits for a sync by scanning. */
export type DrainWait = {
  readonly directory: string;
  readonly siblings: Pick<SiblingJobs, 'state'>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told now and then how many keys are still to be written. */
  readonly report?: (dirtyKeys: number) => void;
};

/**
 * Waits until the target has everything that the source holds when this is called, XACK and its kin excepted, which
 * no event tells: those only a comparison finds.
 *
 * @throws sync-not-running, or the signal's reason
 */
export async function waitForScan({ directory, siblings, clock, signal, report }: DrainWait): Promise<void> {
  const files = drainFiles(directory);
  const id = randomBytes(8).toString('hex');
  writeFileAtomically(files.wanted, JSON.stringify({ id }), { isSynced: false });
  try {
    while (read(files.reached) !== id) {
      const sync = await siblings.state('sync');
      if (sync?.status !== 'running') {
        const state = sync?.status ?? 'there is none';
        throw new MigrationError('sync-not-running', `The sync ended while it was waited for (${state}).`);
      }
      report?.(sync.progress.dirtyKeys ?? 0);
      await clock.sleep(POLL_MS, signal);
    }
  } finally {
    rmSync(files.wanted, { force: true });
  }
}

/** Answers a request that has come since, when the target has everything; `look` as the supervision does it. */
export async function answerDrainRequests(session: ScanSession, look: () => Promise<void>): Promise<void> {
  const files = drainFiles(session.context.directory);
  const id = read(files.wanted);
  if (id === undefined || id === read(files.reached)) return;
  await look();
  const { sequence } = session.dirty;
  const { attention, context, signal, meter } = session;
  while (oldestOpen(session) <= sequence || meter.stage !== 'live') {
    if (attention.gap !== undefined || meter.stage !== 'live') return;
    await context.clock.sleep(1, signal);
  }
  if (attention.gap === undefined)
    writeFileAtomically(files.reached, JSON.stringify({ id }), { isSynced: false });
}

function drainFiles(directory: string) {
  const folder = path.join(directory, 'scan');
  return { wanted: path.join(folder, 'wanted.json'), reached: path.join(folder, 'reached.json') };
}

function read(file: string): string | undefined {
  const parsed = idSchema.safeParse(readJsonIfThere(file));
  return parsed.success ? parsed.data.id : undefined;
}
