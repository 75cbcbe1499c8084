import { z } from 'zod';
import { ERROR_CODES, type ErrorCode } from '../core/error-codes.ts';
import { jobKindSchema } from './jobs.ts';
import { SKIPPED_REASONS_IN_PROGRESS_MAX, skippedSchema } from './skipped.ts';

/** An error as it crosses the border; the code is one of the table in core. */
export const errorRecordSchema = z.strictObject({
  code: z.custom<ErrorCode>((value) => typeof value === 'string' && value in ERROR_CODES),
  message: z.string(),
  remedy: z.string(),
  retryable: z.boolean(),
});

/** The most points that a series in a job's state has; older ones are thinned out. */
export const SERIES_POINTS_MAX = 60;

/** One sample of a running job, for the chart in the summary. */
export const seriesPointSchema = z.strictObject({
  /** Milliseconds since the start of the job. */
  atMs: z.number(),
  percent: z.number().optional(),
  lagBytes: z.number().optional(),
  keysPerSecond: z.number().optional(),
});
/** See {@link seriesPointSchema}. */
export type SeriesPoint = z.infer<typeof seriesPointSchema>;

/** How far a job is. */
export const progressSchema = z.strictObject({
  /** A word of the job's own: of a sync `connecting`, `waiting`, `copying`, `catching-up`, `live`. */
  stage: z.string(),
  percent: z.number().min(0).max(100).optional(),
  keys: z.number(),
  keysPerSecond: z.number(),
  bytes: z.number(),
  bytesPerSecond: z.number(),
  /** Bytes of the source's stream that the target has not committed yet. */
  lagBytes: z.number().optional(),
  /** From sending a mark to the source until the target has committed everything before it. */
  lagMs: z.number().optional(),
  /** Keys that the source has changed and that are not written anew yet (route `scan`). */
  dirtyKeys: z.number().optional(),
  etaMs: z.number().optional(),
  /** What the job waits for most; `source` includes the way from it, `throttle` is a limit that was asked for. */
  bottleneck: z.enum(['source', 'host', 'target', 'throttle']).optional(),
  /** What a sync has left out so far; not there as long as it is nothing. */
  skipped: z.array(skippedSchema).max(SKIPPED_REASONS_IN_PROGRESS_MAX).optional(),
  /** Anything else that is worth a row, such as reconnects: a few words each. */
  notes: z.array(z.string().max(300)).max(20),
});
/** See {@link progressSchema}. */
export type Progress = z.infer<typeof progressSchema>;

/** `running` may turn out to be `dead` when it is looked at: the process is gone and said nothing. */
export const jobStatusSchema = z.enum(['running', 'succeeded', 'failed', 'stopped', 'dead']);
/** See {@link jobStatusSchema}. */
export type JobStatus = z.infer<typeof jobStatusSchema>;

/** What the state file of a job holds and `status` answers. */
export const jobStateSchema = z.strictObject({
  kind: jobKindSchema,
  jobId: z.string(),
  status: jobStatusSchema,
  startedAtMs: z.number(),
  updatedAtMs: z.number(),
  progress: progressSchema,
  series: z.array(seriesPointSchema).max(SERIES_POINTS_MAX),
  error: errorRecordSchema.optional(),
  /** Whether there is a report to fetch. */
  hasReport: z.boolean(),
});
/** See {@link jobStateSchema}. */
export type JobState = z.infer<typeof jobStateSchema>;
