import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { listServers } from '../servers/catalogue.ts';
import { runCampaign } from './campaign.ts';
import { makeCorpus } from './corpus.ts';
import { saveRdbs } from './saved-rdbs.ts';
import { startSwallowingTarget } from './swallowing-target.ts';

/** How large a campaign is. */
export type FuzzOptions = { readonly inputs: number; readonly seed: number };

/** The most that the process may have had resident: buffers of a megabyte come and go, a claim of 512 must not be met. */
const PEAK_BYTES_MAX = 600 * 1024 * 1024;
const REPORT_EVERY = 5_000;

/**
 * Damages RDBs, made by hand and saved by every server at hand, command streams and replies, and feeds them to their
 * readers and to a copy. Meant for a process of its own, of which it measures the memory.
 *
 * Throws on what is not borne; prints how the inputs ended.
 */
export async function fuzz({ inputs, seed }: FuzzOptions, print: (line: string) => void): Promise<void> {
  const corpus = makeCorpus(await saveRdbs(await listServers()));
  print(`fuzzing with the seed ${seed}: ${inputs} damaged ones of ${corpus.rdbs.length} RDBs`);
  await using target = await startSwallowingTarget();
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-fuzz-'));
  try {
    const onProgress = (done: number) => done % REPORT_EVERY === 0 && print(`${done} inputs`);
    const tally = await runCampaign({ corpus, inputs, seed, target, directory, onProgress });
    for (const [name, count] of [...tally].sort()) print(`${String(count).padStart(9)}  ${name}`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  const peakBytes = await readPeakBytes();
  if (peakBytes === undefined) return;
  print(`at most ${Math.round(peakBytes / 1024 ** 2)} MB resident`);
  if (peakBytes > PEAK_BYTES_MAX)
    throw new Error(`${peakBytes} bytes resident are more than ${PEAK_BYTES_MAX}`);
}

/** Undefined where the system does not tell. */
async function readPeakBytes(): Promise<number | undefined> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}
