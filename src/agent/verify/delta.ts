import { randomBytes } from 'node:crypto';
import type { VerifyScope } from '../../contract/jobs.ts';
import type { VerifyReport } from '../../contract/reports.ts';
import type { Skipped } from '../../contract/skipped.ts';
import { formatDuration } from '../../core/units.ts';
import type { SiblingJobs } from '../job/context.ts';
import { type Base, type LiveGeneration, touchedFiles } from '../touched/generation.ts';
import { compareAll, type VerifyOptions } from './compare.ts';
import { assertComplete, TouchedKeysUnknown, touchedBatches } from './touched-batches.ts';

/** What a verification needs that may compare touched keys only. */
export type ScopedOptions = VerifyOptions & { readonly siblings: Pick<SiblingJobs, 'state'> };

/** How long a sync that applies the stream may take to begin a generation. */
const GENERATION_WAIT_MAX_MS = 3_000;
const POLL_MS = 20;
const REASON_LENGTH_MAX = 200;

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

/**
 * Compares the touched keys and the functions, or says why they are not known.
 *
 * What the full verification skipped counts as skipped here as well.
 *
 * @throws the codes of {@link compareAll}
 */
export async function compareDelta(
  options: ScopedOptions & { readonly maxBaseAgeMs?: number },
): Promise<VerifyReport | { readonly reason: string }> {
  try {
    const base = await findBase(options);
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
async function beginGeneration({
  directory,
  clock,
  signal,
}: ScopedOptions): Promise<LiveGeneration | undefined> {
  const files = touchedFiles(directory);
  const id = randomBytes(8).toString('hex');
  files.want(id);
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
async function findBase(options: ScopedOptions & { readonly maxBaseAgeMs?: number }): Promise<Base> {
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
