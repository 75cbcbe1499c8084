import { formatBytes, formatDuration } from '../../core/units.ts';
import {
  type OutputBufferLimit,
  parseOutputBufferLimit,
  type SettingValues,
  type TunableSetting,
} from './settings.ts';
import type { SourceLoad } from './source-load.ts';

/** Memory of the source that a copy carries over in a second at least: with compression, and without it. */
const COPY_BYTES_PER_SECOND = 50 * 1024 * 1024;
const UNCOMPRESSED_COPY_BYTES_PER_SECOND = 80 * 1024 * 1024;
/** From this round trip on the way is taken to be narrower than the source's compression is slow. */
const FAR_LATENCY_MS = 5;
/** How long a lost connection should be bridged by the backlog, so that no new full copy is needed. */
export const BACKLOG_SECONDS = 60;
/** A buffer holds so many times what is expected to come, since writes come in bursts. */
const OUTPUT_BUFFER_MARGIN = 4;
const BACKLOG_MARGIN = 2;
const OUTPUT_BUFFER_BYTES_LEAST = 256 * 1024 * 1024;
export const BACKLOG_BYTES_LEAST = 64 * 1024 * 1024;
/** The shares of the free memory that buffers may take: the fork of a copy needs most of the rest. */
const OUTPUT_BUFFER_SHARE = 1 / 4;
const BACKLOG_SHARE = 1 / 8;

/** A change of one setting: until the copy is over, or until the sync ends. */
export type PlannedSetting = {
  readonly name: TunableSetting;
  readonly before: string;
  readonly set: string;
  readonly span: 'copy' | 'sync';
  readonly reason: string;
};

/** What would be changed at a source, and what is left with the reason. */
export type TuningPlan = {
  readonly settings: readonly PlannedSetting[];
  readonly left: readonly { readonly name: TunableSetting; readonly reason: string }[];
  readonly copyMs: number;
  readonly tunedCopyMs: number;
};

/** What serves a sync by scanning: DUMP compresses as an RDB file does, and replicas have no part in it. */
export const SCAN_SETTINGS: ReadonlySet<TunableSetting> = new Set(['rdbcompression']);

/**
 * What a plan is made of; `sourceBytesPerSecondMax` is what the copy is limited to, `only` the settings that serve the
 * route, all unless told.
 */
export type Tunable = {
  readonly only?: ReadonlySet<TunableSetting> | undefined;
  readonly values: SettingValues;
  readonly load: SourceLoad;
  readonly sourceBytesPerSecondMax: number | undefined;
};

type Verdict =
  | { readonly set: string; readonly reason: string }
  | { readonly set?: undefined; readonly reason: string };
type Rule = (before: string, tunable: Tunable) => Verdict | undefined;

/**
 * Says which settings of the source a sync should change, to which value, and why; what already is as it should be is
 * not mentioned.
 *
 * Sizes come from the write rate times the time of the copy, and never take more than a share of the memory that the
 * source has free.
 */
export function planTuning(tunable: Tunable): TuningPlan {
  const settings: PlannedSetting[] = [];
  const left: { name: TunableSetting; reason: string }[] = [];
  for (const { name, span, rule } of RULES) {
    if (tunable.only?.has(name) === false) continue;
    const before = tunable.values.get(name);
    const verdict = before === undefined ? undefined : rule(before, tunable);
    if (before === undefined || verdict === undefined) continue;
    if (verdict.set === undefined) left.push({ name, reason: verdict.reason });
    else settings.push({ name, span, before, set: verdict.set, reason: verdict.reason });
  }
  const tuned = new Map([...tunable.values, ...settings.map(({ name, set }) => [name, set] as const)]);
  return {
    settings,
    left,
    copyMs: expectedCopyMs(tunable),
    tunedCopyMs: expectedCopyMs({ ...tunable, values: tuned }),
  };
}

const RULES: readonly { name: TunableSetting; span: 'copy' | 'sync'; rule: Rule }[] = [
  { name: 'rdbcompression', span: 'copy', rule: judgeCompression },
  { name: 'repl-diskless-sync', span: 'copy', rule: judgeDiskless },
  { name: 'repl-diskless-sync-delay', span: 'copy', rule: judgeDelay },
  { name: 'client-output-buffer-limit', span: 'sync', rule: judgeOutputBuffer },
  { name: 'repl-backlog-size', span: 'sync', rule: judgeBacklog },
];

/** How long a copy is expected to take, the source's delay before it included. */
export function expectedCopyMs({ values, load, sourceBytesPerSecondMax }: Tunable): number {
  const isCompressed = values.get('rdbcompression') !== 'no';
  const bytesPerSecond = Math.min(
    isCompressed ? COPY_BYTES_PER_SECOND : UNCOMPRESSED_COPY_BYTES_PER_SECOND,
    sourceBytesPerSecondMax ?? Number.POSITIVE_INFINITY,
  );
  const isDiskless = values.get('repl-diskless-sync') === 'yes';
  const delaySeconds = isDiskless ? Number(values.get('repl-diskless-sync-delay') ?? 0) : 0;
  return 1000 * (load.usedMemoryBytes / bytesPerSecond + delaySeconds);
}

/** What comes up at the source in a copy that is not tuned. */
export function expectedBufferBytes(tunable: Tunable): number {
  return (tunable.load.writeBytesPerSecond * expectedCopyMs(tunable)) / 1000;
}

/** The next power of two, which is easier to read than a computed number. */
export function roundUp(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}

/** Compression is most of what a copy costs the source, and makes fewer bytes: worth it where bytes are what is scarce. */
function judgeCompression(before: string, { load, sourceBytesPerSecondMax }: Tunable): Verdict | undefined {
  if (before === 'no') return undefined;
  if (sourceBytesPerSecondMax !== undefined) {
    return { reason: 'the copy is limited in bytes, and compressed data has fewer' };
  }
  if (load.latencyMs > FAR_LATENCY_MS) {
    return {
      reason: `the source is far (${load.latencyMs.toFixed(1)} ms), and compressed data has fewer bytes`,
    };
  }
  return { set: 'no', reason: 'compressing is most of the work of a copy' };
}

function judgeDiskless(before: string): Verdict | undefined {
  return before === 'yes' ? undefined : { set: 'yes', reason: 'no file is written and read again' };
}

function judgeDelay(before: string): Verdict | undefined {
  return before === '0' ? undefined : { set: '0', reason: 'no other replica is waited for' };
}

/** Limits are only raised; one that is 0 is none. */
function judgeOutputBuffer(before: string, tunable: Tunable): Verdict | undefined {
  const limit = parseOutputBufferLimit(before);
  if (limit === undefined) return undefined;
  const expectedBytes = expectedBufferBytes(tunable);
  const wantedBytes = roundUp(Math.max(OUTPUT_BUFFER_BYTES_LEAST, OUTPUT_BUFFER_MARGIN * expectedBytes));
  const reason = `${describeRate(tunable)} for ${formatDuration(expectedCopyMs(tunable))} of copy are ${formatBytes(expectedBytes)}`;
  const bytes = boundBytes(wantedBytes, tunable, OUTPUT_BUFFER_SHARE);
  if (!isLowerThan(limit, wantedBytes)) return undefined;
  if (!isLowerThan(limit, bytes)) return { reason: `${reason}, but ${describeFree(tunable)}` };
  const raise = (present: number) => (present === 0 ? 0 : Math.max(present, bytes));
  return { set: `slave ${raise(limit.hardBytes)} ${raise(limit.softBytes)} ${limit.softSeconds}`, reason };
}

/** Below 7.0 a backlog that changes its size begins empty: so it is never made smaller here. */
function judgeBacklog(before: string, tunable: Tunable): Verdict | undefined {
  const neededBytes = BACKLOG_MARGIN * BACKLOG_SECONDS * tunable.load.writeBytesPerSecond;
  const wantedBytes = roundUp(Math.max(BACKLOG_BYTES_LEAST, neededBytes));
  if (Number(before) >= wantedBytes) return undefined;
  const reason = `so that a connection lost for ${BACKLOG_SECONDS} s at ${describeRate(tunable)} costs no new copy`;
  const bytes = boundBytes(wantedBytes, tunable, BACKLOG_SHARE);
  if (Number(before) >= bytes) return { reason: `${reason}, but ${describeFree(tunable)}` };
  return { set: String(bytes), reason };
}

function isLowerThan({ hardBytes, softBytes }: OutputBufferLimit, bytes: number): boolean {
  return (hardBytes > 0 && hardBytes < bytes) || (softBytes > 0 && softBytes < bytes);
}

/** At most the share of the free memory, rounded down; nothing where that is not known. */
function boundBytes(wantedBytes: number, { load }: Tunable, share: number): number {
  const mostBytes = (load.freeMemoryBytes ?? 0) * share;
  return mostBytes < 1 ? 0 : Math.min(wantedBytes, 2 ** Math.floor(Math.log2(mostBytes)));
}

function describeRate({ load }: Tunable): string {
  return `${formatBytes(load.writeBytesPerSecond)}/s`;
}

function describeFree({ load: { freeMemoryBytes } }: Tunable): string {
  return freeMemoryBytes === undefined
    ? 'how much memory it has free is not known'
    : `the source has only ${formatBytes(freeMemoryBytes)} of memory free`;
}
