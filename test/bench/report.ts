import { z } from 'zod';
import { contestantNameSchema, dataSetIdSchema } from './options.ts';

/** More than this used by others disturbs a measurement. */
export const FOREIGN_SHARE_MAX = 0.12;

const cpuSchema = z.strictObject({
  /** Ended children included: the one that writes the RDB. */
  sourceSeconds: z.number(),
  targetSeconds: z.number(),
  /** Of the contestant's own process, its start included; undefined where the target does the work. */
  toolSeconds: z.number().optional(),
});

/** What every run has. */
const runSchema = z.strictObject({
  contestant: contestantNameSchema,
  round: z.int(),
  /** How often it was run until it counted as undisturbed, or was kept all the same. */
  attempts: z.int(),
  cpu: cpuSchema,
  /** VmHWM of the contestant's process. */
  toolPeakBytes: z.number().optional(),
  targetPeakBytes: z.number(),
  /** The share of all cores that processes of others used meanwhile. */
  foreignShare: z.number(),
  /** Whether that was too much. */
  isNoisy: z.boolean(),
  /** How the target's data differs from the source's; undefined when it does not, or nobody copied. */
  difference: z.string().optional(),
});
/** See {@link runSchema}. */
export type Run = z.infer<typeof runSchema>;

/** One full copy. */
export const copyRunSchema = runSchema.extend({
  set: dataSetIdSchema,
  /** From the source's log of PSYNC to the first sign that the target has everything. */
  copyMs: z.number(),
  /** The same from the start of the contestant's process, or from REPLICAOF. */
  wholeMs: z.number(),
  itemsPerSecond: z.number(),
  /** Bytes of the source's RDB. */
  bytesPerSecond: z.number(),
});
/** See {@link copyRunSchema}. */
export type CopyRun = z.infer<typeof copyRunSchema>;

/** One run under load. */
export const liveRunSchema = runSchema.extend({
  /** What the source served while the contestant was attached, by command. */
  sourceOpsPerSecond: z.record(z.string(), z.number()),
  loadMs: z.number(),
  /** Commands by the time from the start of the load until the target had all of them. */
  appliedPerSecond: z.number().optional(),
  lagBytes: z.strictObject({ median: z.number(), max: z.number() }).optional(),
  /** The age of the oldest acknowledged write that the target did not show. */
  lagMs: z.strictObject({ median: z.number(), max: z.number() }).optional(),
  /** After the load's end, until the lag was last seen to be more, or 0 when it was not. */
  lagUnder100MsAfterMs: z.number().optional(),
  /** After the load's end, until the target had all that was written before. */
  drainedAfterMs: z.number().optional(),
});
/** See {@link liveRunSchema}. */
export type LiveRun = z.infer<typeof liveRunSchema>;

/** One run in which the contestant was suspended while the source was written to, and then caught up. */
export const catchUpRunSchema = runSchema.extend({
  commands: z.number(),
  catchUpMs: z.number(),
  appliedPerSecond: z.number(),
});
/** See {@link catchUpRunSchema}. */
export type CatchUpRun = z.infer<typeof catchUpRunSchema>;

/** One full comparison of two equal servers. */
export const verifyRunSchema = runSchema.extend({
  set: dataSetIdSchema,
  /** From the start of the process to its end. */
  verifyMs: z.number(),
  /** Of the source; in both directions they are looked at twice and counted once. */
  keys: z.number(),
  keysPerSecond: z.number(),
  sourceMicrosecondsPerKey: z.number(),
});
/** See {@link verifyRunSchema}. */
export type VerifyRun = z.infer<typeof verifyRunSchema>;

/** A target of the project and what was measured. */
export const verdictSchema = z.strictObject({
  name: z.string(),
  limit: z.string(),
  measured: z.string(),
  verdict: z.enum(['pass', 'miss', 'not measured']),
});
/** See {@link verdictSchema}. */
export type Verdict = z.infer<typeof verdictSchema>;

/** A quotient of two contestants: of the medians, and of each round's pair. */
export const ratioSchema = z.strictObject({
  /** A data set, `live`, `catch-up`, or `verify` and a data set. */
  of: z.string(),
  /** `source-cpu` is that of the source alone; `cpu` is that of source, target and contestant together: what other load disturbs least. */
  what: z.enum(['time', 'rate', 'cpu', 'source-cpu']),
  contestant: contestantNameSchema,
  against: contestantNameSchema,
  ofMedians: z.number(),
  byRound: z.array(z.number()),
});
/** See {@link ratioSchema}. */
export type Ratio = z.infer<typeof ratioSchema>;

/** Everything that a bench measured. */
export const benchReportSchema = z.strictObject({
  format: z.literal(1),
  startedAt: z.string(),
  durationMs: z.number(),
  machine: z.strictObject({
    cores: z.int(),
    cpuModel: z.string(),
    memoryBytes: z.number(),
    kernel: z.string(),
    node: z.string(),
  }),
  source: z.string(),
  target: z.string(),
  rounds: z.int(),
  scale: z.number(),
  sets: z.array(
    z.strictObject({
      id: dataSetIdSchema,
      title: z.string(),
      items: z.number(),
      itemName: z.enum(['keys', 'fields', 'bytes']),
      keys: z.number(),
      rdbBytes: z.number(),
    }),
  ),
  copy: z.array(copyRunSchema),
  live: z.array(liveRunSchema),
  catchUp: z.array(catchUpRunSchema),
  verify: z.array(verifyRunSchema),
  ratios: z.array(ratioSchema),
  verdicts: z.array(verdictSchema),
  /** Runs that did not come to their end. */
  failures: z.array(
    z.strictObject({
      what: z.string(),
      contestant: contestantNameSchema,
      round: z.int(),
      message: z.string(),
    }),
  ),
});
/** See {@link benchReportSchema}. */
export type BenchReport = z.infer<typeof benchReportSchema>;
