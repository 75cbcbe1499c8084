import type { Progress } from '../../../contract/job-state.ts';
import type { SyncReport } from '../../../contract/reports.ts';
import {
  HASH_FIELD_TTL,
  SKIPPED_REASONS_IN_PROGRESS_MAX,
  SKIPPED_REASONS_MAX,
  SKIPPED_SAMPLE_MAX,
  type Skipped,
} from '../../../contract/skipped.ts';
import { NO_PROGRESS } from '../../job/context.ts';
import type { Meter, Stage } from '../meter.ts';
import { makeReport } from '../until-stopped.ts';

/** One shard, by its slots, and what counts for it. */
export type MeteredShard = { readonly slots: string; readonly meter: Meter };

const STAGES: readonly string[] = [
  'connecting',
  'waiting',
  'copying',
  'catching-up',
  'live',
] satisfies readonly Stage[];
/** The notes of the whole sync that are kept, and of each shard that are shown. */
const OWN_NOTES_MAX = 4;
const NOTES_MAX = 20;
const SLOTS_SHOWN_MAX = 40;
const OTHERS = 'other reasons';

/** Shows the shards of a source as one sync: sums of what is counted, and the state of the one that is least far. */
export class ShardMeters {
  #shards: readonly MeteredShard[] = [];
  readonly #notes: string[] = [];

  /** From now on these are the shards. */
  show(shards: readonly MeteredShard[]): void {
    this.#shards = shards;
  }

  /** Whether the target is as far as every shard, but for what is on its way. */
  get areCaughtUp(): boolean {
    return this.#shards.every(({ meter }) => meter.isCaughtUp);
  }

  /** Adds a line to what the status shows. */
  note(text: string): void {
    this.#notes.push(text);
    if (this.#notes.length > OWN_NOTES_MAX) this.#notes.shift();
  }

  /** The progress of all shards now; rates are those since the last call. */
  progress(): Progress {
    const parts = this.#shards.map(({ slots, meter }) => ({ slots, ...meter.progress() }));
    if (parts.length === 0) return { ...NO_PROGRESS, stage: 'connecting', notes: [...this.#notes] };
    const isLagKnown = parts.every(({ lagBytes }) => lagBytes !== undefined);
    const percents = parts.map(({ percent = 0 }) => percent);
    const bottleneck = parts.find((part) => part.bottleneck !== undefined)?.bottleneck;
    const skipped = mergeSkipped(
      parts.map((part) => part.skipped ?? []),
      SKIPPED_REASONS_IN_PROGRESS_MAX,
    );
    return {
      stage: stageOf(parts.map(({ stage }) => stage)),
      percent: sum(percents) / percents.length,
      keys: sum(parts.map(({ keys }) => keys)),
      keysPerSecond: sum(parts.map(({ keysPerSecond }) => keysPerSecond)),
      bytes: sum(parts.map(({ bytes }) => bytes)),
      bytesPerSecond: sum(parts.map(({ bytesPerSecond }) => bytesPerSecond)),
      ...(isLagKnown
        ? {
            lagBytes: sum(parts.map(({ lagBytes = 0 }) => lagBytes)),
            lagMs: Math.max(...parts.map(({ lagMs = 0 }) => lagMs)),
          }
        : {}),
      ...(bottleneck === undefined ? {} : { bottleneck }),
      ...(skipped.length === 0 ? {} : { skipped }),
      notes: [...this.#notes, ...describeShards(parts)],
    };
  }

  /** What all of them have done; each shard has a checkpoint of its own, so there is none. */
  report(): SyncReport {
    const reports = this.#shards.map(({ meter }) => makeReport(meter));
    const total = (of: (report: SyncReport) => number) => sum(reports.map(of));
    const reconciles = total((report) => report.reconciles ?? 0);
    const removedKeys = total((report) => report.removedKeys ?? 0);
    return {
      kind: 'sync',
      copiedKeys: total((report) => report.copiedKeys),
      copiedBytes: total((report) => report.copiedBytes),
      copyDurationMs: total((report) => report.copyDurationMs),
      appliedCommands: total((report) => report.appliedCommands),
      reconnects: total((report) => report.reconnects),
      ...(reconciles === 0 ? {} : { reconciles, removedKeys }),
      skipped: mergeSkipped(
        reports.map((report) => report.skipped),
        SKIPPED_REASONS_MAX,
      ),
    };
  }
}

/** While one is copied that is what goes on; else the stage of the one that is least far. */
function stageOf(stages: readonly string[]): string {
  if (stages.includes('copying')) return 'copying';
  return STAGES[Math.min(...stages.map((stage) => STAGES.indexOf(stage)))] ?? 'connecting';
}

type Part = Progress & { readonly slots: string };

/** A line of state for each shard that fits, then the last that each has to say. */
function describeShards(parts: readonly Part[]): string[] {
  const name = ({ slots }: Part) => `shard ${slots.slice(0, SLOTS_SHOWN_MAX)}`;
  const states = parts.map((part) => `${name(part)}: ${part.stage}`);
  const said = parts.flatMap((part) => part.notes.slice(-1).map((note) => `${name(part)}: ${note}`));
  return [...states, ...said].slice(0, NOTES_MAX - OWN_NOTES_MAX).map((note) => note.slice(0, 300));
}

/** The counts of all shards, in so many rows. */
function mergeSkipped(lists: readonly (readonly Skipped[])[], rowsMax: number): Skipped[] {
  const rows = new Map<string, Skipped>();
  for (const row of lists.flat()) {
    const known =
      row.reason === HASH_FIELD_TTL ||
      rows.has(`${row.what} ${row.reason}`) ||
      rows.size < rowsMax - ROWS_KEPT;
    const { what, count, sample } = row;
    const reason = known ? row.reason : OTHERS;
    const before = rows.get(`${what} ${reason}`);
    rows.set(`${what} ${reason}`, {
      what,
      reason,
      count: count + (before?.count ?? 0),
      sample: [...(before?.sample ?? []), ...sample].slice(0, SKIPPED_SAMPLE_MAX),
    });
  }
  return [...rows.values()];
}

/** A row of others for each kind of `what`, and one for what has been agreed to. */
const ROWS_KEPT = 4;

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
