import { randomBytes } from 'node:crypto';
import type { VerifyScope } from '../../contract/jobs.ts';
import type { VerifyReport } from '../../contract/reports.ts';
import type { Skipped } from '../../contract/skipped.ts';
import { formatDuration } from '../../core/units.ts';
import type { SiblingJobs } from '../job/context.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { type Base, type LiveGeneration, touchedFiles } from '../touched/generation.ts';
import { compareAll } from './compare.ts';
import type { VerifyOptions } from './run.ts';
import { openSession, type Session } from './session.ts';
import { assertComplete, TouchedKeysUnknown, touchedBatches } from './touched-batches.ts';

/** What a verification needs that may compare touched keys only. */
export type ScopedOptions = VerifyOptions & { readonly siblings: Pick<SiblingJobs, 'state'> };

/** How long a sync that applies the stream may take to begin a generation. */
const GENERATION_WAIT_MAX_MS = 3_000;
const POLL_MS = 20;
const REASON_LENGTH_MAX = 200;
/** How often keys are counted that expire meanwhile. */
const COUNTS_MAX = 5;

/**
 * Compares all keys, or with `delta` those that were touched since the last full verification without a difference
 * began; when they are not known it compares all, and the report says why.
 *
 * @throws the codes of {@link compareAll}
 */
export async function compareInScope(scope: VerifyScope, options: ScopedOptions): Promise<VerifyReport> {
  if (scope === 'full') return compareFully(options);
  const found = await compareDelta(options);
  if ('kind' in found) return found;
  return { ...(await compareFully(options)), fullReason: found.reason.slice(0, REASON_LENGTH_MAX) };
}

/** What makes a delta the proof of a cutover. */
export type DeltaOptions = ScopedOptions & {
  /** How long ago the full verification may have ended that it goes on from. */
  readonly maxBaseAgeMs?: number;
  /** Nothing changes any more: both sides must have as many keys, and nothing that the full one could not compare counts. */
  readonly isProof?: boolean;
};

/**
 * Compares the touched keys and the functions, or says why they are not known.
 *
 * What the full verification skipped counts as skipped here as well.
 *
 * @throws the codes of {@link compareAll}
 */
export async function compareDelta(
  options: DeltaOptions,
): Promise<VerifyReport | { readonly reason: string }> {
  try {
    const base = await findBase(options);
    if (options.isProof) await assertProvable(base, options);
    const { directory } = options;
    const report = await compareAll({
      ...options,
      touched: (mark) => touchedBatches(directory, { id: base.generation, mark }),
    });
    return { ...report, base: base.verification, skipped: mergeSkipped(base.skipped, report.skipped) };
  } catch (error) {
    if (error instanceof TouchedKeysUnknown) return { reason: error.message };
    throw error;
  }
}

/**
 * As {@link compareDelta}, and when nothing differs the sync keeps track anew: the next delta goes on from here.
 *
 * @throws the codes of {@link compareAll}
 */
export async function advanceBase(
  options: DeltaOptions,
): Promise<VerifyReport | { readonly reason: string }> {
  const { directory } = options;
  try {
    const base = await findBase(options);
    const generation = await beginGeneration(options, base.generation);
    if (generation?.follows !== base.generation) {
      throw new TouchedKeysUnknown('the sync did not go on from the generation before');
    }
    const keys = { id: generation.generation, keysOf: base.generation };
    const report = await compareAll({
      ...options,
      touched: (mark) => touchedBatches(directory, { ...keys, mark }),
    });
    const skipped = mergeSkipped(base.skipped, report.skipped);
    if (report.differences.total === 0) {
      touchedFiles(directory).writeBase({ ...base, generation: generation.generation, skipped });
    }
    return { ...report, base: base.verification, skipped };
  } catch (error) {
    if (error instanceof TouchedKeysUnknown) return { reason: error.message };
    throw error;
  }
}

/** Compares all keys; from when it began the sync keeps track, so that a delta can go on from it. */
async function compareFully(options: ScopedOptions): Promise<VerifyReport> {
  const files = touchedFiles(options.directory);
  // What it finds counts from now on, not what the one before has found.
  files.removeBase();
  const generation = (await isStreaming(options)) ? await beginGeneration(options) : undefined;
  const report = await compareAll({ ...options, after: generation });
  if (generation !== undefined && report.passed && report.differences.total === 0) {
    keepBase(options, { generation, report });
  }
  return report;
}

/** Asks the sync for a new generation; undefined when it does not answer. */
async function beginGeneration(
  { directory, clock, signal }: ScopedOptions,
  follows?: string,
): Promise<LiveGeneration | undefined> {
  const files = touchedFiles(directory);
  const id = randomBytes(8).toString('hex');
  files.want({ generation: id, ...(follows === undefined ? {} : { follows }) });
  try {
    const untilMs = clock.nowMs() + GENERATION_WAIT_MAX_MS;
    while (clock.nowMs() < untilMs) {
      const generation = files.readGeneration();
      if (generation !== undefined && 'generation' in generation && generation.generation === id) {
        return generation;
      }
      await clock.sleep(POLL_MS, signal);
    }
    return undefined;
  } finally {
    files.unwant();
  }
}

function keepBase(
  { directory, ttlToleranceMs, hashFieldTtl }: ScopedOptions,
  { generation, report }: { generation: LiveGeneration; report: VerifyReport },
): void {
  try {
    assertComplete(directory, generation.generation);
  } catch (error) {
    // It was lost meanwhile: a delta says so when somebody asks for one.
    if (error instanceof TouchedKeysUnknown) return;
    throw error;
  }
  const { verificationId, startedAtMs, finishedAtMs, keysCompared } = report;
  const { migrationId, sourceAddress, targetAddress, skipped } = report;
  touchedFiles(directory).writeBase({
    generation: generation.generation,
    migrationId,
    sourceAddress,
    targetAddress,
    verification: { verificationId, startedAtMs, finishedAtMs, keysCompared },
    skipped,
    ttlToleranceMs,
    hashFieldTtl: hashFieldTtl ?? 'refuse',
  });
}

/** The full verification to go on from. @throws {@link TouchedKeysUnknown} when there is none of the same question */
async function findBase(options: DeltaOptions): Promise<Base> {
  const { directory, maxBaseAgeMs, clock } = options;
  const unknown = (reason: string) => new TouchedKeysUnknown(reason);
  const generation = touchedFiles(directory).readGeneration();
  if (generation !== undefined && 'lost' in generation) throw unknown(generation.lost);
  if (!(await isStreaming(options))) throw unknown('no sync applies the stream of the source');
  const base = touchedFiles(directory).readBase();
  if (base === undefined) {
    throw unknown('no full verification has passed without a difference while a sync kept track');
  }
  assertComplete(directory, base.generation);
  const isSame =
    base.migrationId === options.migrationId &&
    base.sourceAddress === options.source.address &&
    base.targetAddress === options.target.address;
  if (!isSame) throw unknown('the last full verification was of other servers');
  const isStrict =
    base.ttlToleranceMs <= options.ttlToleranceMs &&
    (base.hashFieldTtl === 'refuse' || options.hashFieldTtl === 'keep-values');
  if (!isStrict) throw unknown('the last full verification allowed more than this one');
  const ageMs = clock.nowMs() - base.verification.finishedAtMs;
  if (maxBaseAgeMs !== undefined && ageMs > maxBaseAgeMs) {
    throw unknown(`the last full verification ended ${formatDuration(ageMs)} ago`);
  }
  return base;
}

/** @throws {@link TouchedKeysUnknown} when keys came or went beside the stream, or expiry times were not compared */
async function assertProvable({ skipped }: Base, options: DeltaOptions): Promise<void> {
  await using source = await openSession(options.source, options);
  await using target = await openSession(options.target, options);
  if (!source.capabilities.absoluteExpiry) {
    throw new TouchedKeysUnknown(
      'before Redis 7.0 a full verification beside a sync cannot compare expiry times',
    );
  }
  if (skipped.length > 0) throw new TouchedKeysUnknown('the last full verification skipped keys');
  if (target.primaries > 1) throw new TouchedKeysUnknown('the target is in cluster mode');
  for (let attempt = 1; ; attempt++) {
    const uneven = await findUneven(source, target);
    if (uneven === undefined) return;
    if (attempt === COUNTS_MAX) throw new TouchedKeysUnknown(uneven);
    await options.clock.sleep(POLL_MS, options.signal);
  }
}

/** A database of which the sides have not as many keys. Behind a fence keys still expire, so the source has fewer later. */
async function findUneven(source: Session, target: Session): Promise<string | undefined> {
  const before = await source.databases();
  const found = await target.databases();
  const [claims] = await target.ask(0, [['EXISTS', RESERVED_KEY]]);
  const after = await source.databases();
  for (const db of new Set([...before.keys(), ...found.keys()])) {
    const keys = (found.get(db)?.keys ?? 0) - (db === 0 ? Number(claims) : 0);
    const [most, least] = [before.get(db)?.keys ?? 0, after.get(db)?.keys ?? 0];
    if (keys > most || keys < least)
      return `database ${db} has ${most} keys at the source and ${keys} at the target`;
  }
  return undefined;
}

/** Only a sync that applies the stream knows what is touched. */
async function isStreaming({ siblings }: ScopedOptions): Promise<boolean> {
  const sync = await siblings.state('sync');
  return sync?.status === 'running' && /^(live|catching-up)$/.test(sync.progress.stage);
}

/** The keys that both have skipped for a reason are mostly the same. */
function mergeSkipped(base: readonly Skipped[], delta: readonly Skipped[]): Skipped[] {
  const rows = new Map([...base].map((row) => [`${row.what} ${row.reason}`, row]));
  for (const row of delta) {
    const name = `${row.what} ${row.reason}`;
    const before = rows.get(name);
    if (before === undefined || before.count < row.count) rows.set(name, row);
  }
  return [...rows.values()];
}
