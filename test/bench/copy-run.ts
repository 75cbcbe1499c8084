import { readFile } from 'node:fs/promises';
import type { RunningServer } from '../servers/start.ts';
import { type BoutFigures, type BoutOptions, holdBout } from './bout.ts';
import type { PreparedSet } from './prepared-set.ts';
import type { CopyRun } from './report.ts';

/** Measures one full copy of a set. */
export function runCopy(
  set: PreparedSet,
  options: Omit<BoutOptions, 'purpose' | 'data'>,
): Promise<Omit<CopyRun, 'contestant' | 'round' | 'attempts'> & BoutFigures> {
  return holdBout({ ...options, purpose: 'copy', data: set }, async ({ pair, attachment, startedAtMs }) => {
    const copiedAtMs = await attachment.copied();
    const isScanning = options.contestant.isScanning === true;
    const copyMs = copiedAtMs - (isScanning ? startedAtMs : await readSyncRequestMs(pair.source));
    return {
      set: set.id,
      copyMs,
      wholeMs: copiedAtMs - startedAtMs,
      itemsPerSecond: set.items / (copyMs / 1000),
      bytesPerSecond: set.rdbBytes / (copyMs / 1000),
    };
  });
}

/**
 * When a replica asked the source for everything, by the line that every version logs:
 * `123:M 01 Jan 2030 00:00:00.000 * Replica 127.0.0.1:6380 asks for synchronization`, in the machine's time zone.
 */
async function readSyncRequestMs({ logPath }: RunningServer): Promise<number> {
  const log = await readFile(logPath, 'utf8');
  const stamp = /^\d+:M (\d+ \w+ \d+ [\d:.]+) \* Replica .* asks for synchronization/m.exec(log)?.[1];
  const atMs = stamp === undefined ? Number.NaN : new Date(stamp).getTime();
  if (Number.isNaN(atMs))
    throw new Error('The log of the source does not show when it was asked for a sync.');
  return atMs;
}
