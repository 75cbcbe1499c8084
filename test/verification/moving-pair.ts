import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { MOVING, notAgreedTo } from '../../src/contract/skipped.ts';
import { startLiveWriters } from '../agent/sync/live-writers.ts';
import { startSync } from '../agent/sync/sync-run.ts';
import { startLiveWriter } from '../agent/verify/live-writer.ts';
import { differenceLines, startPair, verifyPair } from '../agent/verify/verify-pair.ts';
import { loadDataSet } from '../servers/data-set.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { startBriefWriter } from './brief-writer.ts';
import { commandVersion, expiresFields, withoutDetail } from './seeded-pair.ts';

/** What verifications of an equal pair found, and then one of a pair with planted differences. */
export type MovingFindings = {
  /** Lines of differences, of all verifications together: none is right. */
  readonly falseAlarms: readonly string[];
  /** How far the target was behind at most during each verification, in bytes of the stream. */
  readonly lagsBytes: readonly number[];
  readonly planted: readonly string[];
  readonly found: readonly string[];
};

const KEYS = 2000;
/** How long the target takes no writes, each in turn, with as long a breath after it. Reads are answered meanwhile. */
const PAUSES_MS = [40, 900, 250, 10, 500];

/** Verifies so often while clients write as fast as the source takes it, and a sync lags since its target pauses. */
export async function verifyMoving(
  binaries: { readonly source: ServerBinary; readonly target: ServerBinary },
  { verifications }: { readonly verifications: number },
): Promise<MovingFindings> {
  await using pair = await startPair(binaries.source, binaries.target);
  const { source, target } = pair;
  await loadDataSet(source.client(), { keys: KEYS, seed: 3 });
  await source.client().call('XGROUP', 'CREATE', 'hot:stream', 'g', '0', 'MKSTREAM');
  await source.client().hset('hot:hash', 'still', 'here');
  await using stack = new AsyncDisposableStack();
  const version = commandVersion(binaries.source);
  const writers = startLiveWriters(source, { version });
  stack.defer(async () => void (await writers.stop()));
  stack.use(startLiveWriter(source.client()));
  const canExpireFields = expiresFields(binaries.source) && expiresFields(binaries.target);
  stack.use(startBriefWriter(source.client(6), { canExpireFields }));
  const sync = stack.use(await startSync({ source, target }));
  await sync.until(({ stage }) => stage === 'live');
  stack.use(startPausing(target.client()));
  const falseAlarms: string[] = [];
  const lagsBytes: number[] = [];
  for (let count = 0; count < verifications; count++) {
    const lag = watchLag(() => sync.progress()?.lagBytes ?? 0);
    const report = await verifyPair(pair);
    lagsBytes.push(lag.stop());
    const skipped = notAgreedTo(report.skipped).map(({ reason, sample }) => `${reason}: ${sample.join()}`);
    const lines = [...differenceLines(report), ...skipped];
    falseAlarms.push(...lines.map((line) => `verification ${count}: ${line}`));
  }
  const planted = await plant(source.client(), target.client());
  planted.push(...(await plantInMoving(target.client(6))));
  const report = await verifyPair(pair);
  const found = differenceLines(report).map(withoutDetail);
  // Of a value that changes too fast for what the machine has left that may also be all that is said.
  const unseen = report.skipped.flatMap(({ reason, sample }) => (reason === MOVING ? sample : []));
  const named = planted.filter((line) => !found.includes(line) && unseen.includes(asSample(line)));
  return { falseAlarms, lagsBytes, planted: planted.sort(), found: [...found, ...named].sort() };
}

/** Differences in keys that move and in keys that rest, written past the sync. */
async function plant(source: Redis, target: Redis): Promise<string[]> {
  await source.mset('rests:lost', 'v', 'rests:changed', 'v', 'rests:timed', 'v');
  while ((await target.exists('rests:lost', 'rests:changed', 'rests:timed')) < 3) await source.ping();
  await target.del('rests:lost');
  await target.set('rests:changed', 'w');
  await target.expire('rests:timed', 100_000);
  await target.set('rests:extra', 'v');
  await target.hset('hot:hash', 'still', 'gone');
  await target.incrby('hot:counter', 1_000_000_000);
  return [
    '0 hot:counter string value',
    '0 hot:hash hash value',
    '0 rests:changed string value',
    '0 rests:extra string extra',
    '0 rests:lost string missing',
    '0 rests:timed string ttl',
  ];
}

/** The same in values that move: a verification must not be content with the places that came right first. */
async function plantInMoving(target: Redis): Promise<string[]> {
  await target.lset('brief:ring', 100, 'other');
  await target.lset('brief:big-ring', 10_000, 'other');
  await target.setrange('brief:long', 450_000, 'other');
  await target.hset('brief:wide', 'still', 'gone');
  return [
    '6 brief:big-ring list value',
    '6 brief:long string value',
    '6 brief:ring list value',
    '6 brief:wide hash value',
  ];
}

/** `db6 name`, as skipped keys are sampled, of `6 name type kind`. */
function asSample(line: string): string {
  return line.replace(/^(\d+) (\S+) .*$/, 'db$1 $2');
}

function startPausing(client: Redis): AsyncDisposable {
  const stopping = new AbortController();
  const pause = async () => {
    for (let round = 0; !stopping.signal.aborted; round++) {
      const durationMs = PAUSES_MS[round % PAUSES_MS.length] ?? 0;
      await client.call('CLIENT', 'PAUSE', durationMs, 'WRITE');
      // The breath is to be as long as the pause; an abort ends both.
      await sleep(2 * durationMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
    await client.call('CLIENT', 'UNPAUSE');
  };
  const pausing = pause();
  return {
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await pausing;
    },
  };
}

const LAG_LOOK_MS = 20;

/** Looks at a lag now and then; `stop` tells the largest. */
function watchLag(lagBytes: () => number): { stop(): number } {
  let largest = lagBytes();
  const timer = setInterval(() => {
    largest = Math.max(largest, lagBytes());
  }, LAG_LOOK_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return largest;
    },
  };
}
