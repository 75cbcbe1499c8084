import { z } from 'zod';
import { endpointSchema } from './endpoint.ts';
import { routeSchema } from './finding.ts';
import { hashFieldTtlSchema } from './skipped.ts';

const pair = { source: endpointSchema, target: endpointSchema };

/** What the action knows of the target from the ElastiCache API, because CONFIG is refused there. */
export const targetFactsSchema = z.strictObject({
  engine: z.string(),
  engineVersion: z.string(),
  transitEncryption: z.boolean(),
  multiAz: z.boolean(),
  clusterMode: z.boolean(),
  status: z.string(),
  /** From the parameter group; undefined when it could not be read. */
  databases: z.int().optional(),
  /** The group itself, and its `notify-keyspace-events`; undefined when they could not be read. */
  parameterGroup: z.string().optional(),
  notifyKeyspaceEvents: z.string().optional(),
});
/** See {@link targetFactsSchema}. */
export type TargetFacts = z.infer<typeof targetFactsSchema>;

/** A source that can write less would take its replica for dead sooner or later. */
export const SOURCE_BYTES_PER_SECOND_LEAST = 1_000_000;
/** Below this even the bookkeeping of a sync would not get through. */
export const TARGET_COMMANDS_PER_SECOND_LEAST = 100;

/** Looks at both servers and chooses a route; changes nothing but, when allowed, one canary key. */
export const preflightRequestSchema = z.strictObject({
  kind: z.literal('preflight'),
  ...pair,
  /** The route that the user asked for. */
  route: z.enum(['auto', ...routeSchema.options]),
  targetFacts: targetFactsSchema.optional(),
  /** Where ElastiCache would reach the source on the native route: the private address of the host. */
  nativeSourceHost: z.string().optional(),
  /** Turns the refusal of Redis 7.4+ on the native route into a warning. */
  allowNativeRdbVersion: z.boolean(),
  /** Write, read and delete one key of ours on the target. */
  canaryWrite: z.boolean(),
  /** The target may hold foreign keys, because they will be flushed. */
  flushTarget: z.boolean(),
  /** As in {@link syncRequestSchema}. */
  tuneSource: z.boolean().optional(),
  sourceBytesPerSecondMax: z.int().min(SOURCE_BYTES_PER_SECOND_LEAST).optional(),
  /** Default `refuse`. */
  hashFieldTtl: hashFieldTtlSchema.optional(),
  /** Whether a way back is to be kept after the cutover; default false. */
  reverse: z.boolean().optional(),
});

/** BGSAVE at the source with proof that it completed. */
export const backupRequestSchema = z.strictObject({
  kind: z.literal('backup'),
  source: endpointSchema,
  timeoutMs: z.int().positive(),
});

/** How the report shows the names of keys. */
export const keyDisplaySchema = z.enum(['shown', 'hashed', 'hidden']);
/** See {@link keyDisplaySchema}. */
export type KeyDisplay = z.infer<typeof keyDisplaySchema>;

/** How a sync gets at the data: a full copy by PSYNC and the command stream, or SCAN and keyspace notifications. */
export const syncRouteSchema = routeSchema.exclude(['native']);

/** Copies, then follows the source, until it is stopped. */
export const syncRequestSchema = z.strictObject({
  kind: z.literal('sync'),
  ...pair,
  /** Default `replica`. */
  route: syncRouteSchema.optional(),
  flushTarget: z.boolean(),
  /** Default `refuse`. */
  hashFieldTtl: hashFieldTtlSchema.optional(),
  /** How the names of keys that were left out are shown, also in the list on the host; default `hashed`. */
  keyDisplay: keyDisplaySchema.optional(),
  /** The most that may wait on the host's disk for the target; without it the free space of the disk bounds it. */
  spoolBytesMax: z.int().min(0).optional(),
  /** Change settings of the source for the time of the sync. */
  tuneSource: z.boolean().optional(),
  /** The most bytes per second that the copy takes from the source; its stream is never held back. */
  sourceBytesPerSecondMax: z.int().min(SOURCE_BYTES_PER_SECOND_LEAST).optional(),
  /** The most commands per second that the target gets, in the copy and in the stream. */
  targetCommandsPerSecondMax: z.int().min(TARGET_COMMANDS_PER_SECOND_LEAST).optional(),
});

/** Native route: waits until the target's replication link to the source is up and caught up. */
export const linkRequestSchema = z.strictObject({
  kind: z.literal('link'),
  ...pair,
  /** How long to wait for it; 0 only looks. */
  waitMs: z.int().min(0),
});

/**
 * What a verification compares: all keys, or those that the stream of the source has touched since the last full one
 * began. Where that is not known, `delta` becomes `full`, and its report says why.
 */
export const verifyScopeSchema = z.enum(['full', 'delta']);
/** See {@link verifyScopeSchema}. */
export type VerifyScope = z.infer<typeof verifyScopeSchema>;
/** What a verification may write anew on the target: keys and functions that differ or miss; or extra ones removed too. */
export const repairModeSchema = z.enum(['differences', 'differences-and-extras']);
/** See {@link repairModeSchema}. */
export type RepairMode = z.infer<typeof repairModeSchema>;

/** Compares all keys of both sides, in both directions. */
export const verifyRequestSchema = z.strictObject({
  kind: z.literal('verify'),
  ...pair,
  route: routeSchema.optional(),
  /** Default `full`; see {@link verifyScopeSchema}. */
  scope: verifyScopeSchema.optional(),
  maxDifferences: z.int().min(0),
  /** How far the expiry times of a key may be apart. */
  ttlToleranceMs: z.int().min(0),
  keyDisplay: keyDisplaySchema,
  /** Without it nothing is changed. */
  repair: repairModeSchema.optional(),
  /** With `keep-values` a target without the expiry times of hash fields is not different for it; default `refuse`. */
  hashFieldTtl: hashFieldTtlSchema.optional(),
});

/** Fence, drain, prove, hand over. On the native route the promotion itself is left to the action. */
export const cutoverRequestSchema = z.strictObject({
  kind: z.literal('cutover'),
  ...pair,
  route: routeSchema,
  maxDifferences: z.int().min(0),
  ttlToleranceMs: z.int().min(0),
  keyDisplay: keyDisplaySchema,
  /** As of `verify`. */
  hashFieldTtl: hashFieldTtlSchema.optional(),
  /** Go on although something was left out that nobody has agreed to; default false. */
  allowSkipped: z.boolean().optional(),
  maxVerificationAgeMs: z.int().positive(),
  /** The verification that whoever approved has seen; the newest must be this one. */
  reviewedVerificationId: z.string().max(100).optional(),
  /** The budget of fence, drain and proof together; over it the fence is lifted again. */
  maxWritePauseMs: z.int().positive(),
  /** Fence so that a way back can write to the source afterwards; default false. */
  reverse: z.boolean().optional(),
});

/**
 * Watches over a cutover from before its fence on: lifts the fence when the cutover cannot do so itself, and goes on with
 * a hand-over that was decided.
 */
export const keeperRequestSchema = z.strictObject({
  kind: z.literal('keeper'),
  cutover: cutoverRequestSchema,
});

/** Looks who still comes to the fenced source, for a time. */
export const stragglersRequestSchema = z.strictObject({
  kind: z.literal('stragglers'),
  source: endpointSchema,
  watchMs: z.int().min(0),
});

/** Measures the round-trip times of the host to the target; changes nothing. */
export const latencyRequestSchema = z.strictObject({ kind: z.literal('latency'), target: endpointSchema });

/** Writes and reads some keys of its own on the target and removes them; only when the migration is completed. */
export const benchmarkRequestSchema = z.strictObject({
  kind: z.literal('benchmark'),
  target: endpointSchema,
});

/** Lifts the fence when the promotion on the native route failed: the target still replicates, so writes may go on. */
export const unfenceRequestSchema = z.strictObject({ kind: z.literal('unfence'), source: endpointSchema });

/** Stops the sync, lifts the fence, releases the target; leaves the source as it was found. */
export const rollbackRequestSchema = z.strictObject({
  kind: z.literal('rollback'),
  ...pair,
  route: routeSchema,
  flushTarget: z.boolean(),
});

/** Everything that the host does with the two servers, by `kind`. */
export const jobRequestSchema = z.discriminatedUnion('kind', [
  preflightRequestSchema,
  backupRequestSchema,
  syncRequestSchema,
  linkRequestSchema,
  verifyRequestSchema,
  cutoverRequestSchema,
  keeperRequestSchema,
  stragglersRequestSchema,
  latencyRequestSchema,
  benchmarkRequestSchema,
  unfenceRequestSchema,
  rollbackRequestSchema,
]);
/** See {@link jobRequestSchema}. */
export type JobRequest = z.infer<typeof jobRequestSchema>;
/** The name of a job: a migration has at most one job of each kind at a time. */
export type JobKind = JobRequest['kind'];
/** The request of one kind of job. */
export type JobRequestOf<Kind extends JobKind> = Extract<JobRequest, { kind: Kind }>;

/** All kinds, for folders and checks. */
export const jobKindSchema = z.enum([
  'preflight',
  'backup',
  'sync',
  'link',
  'verify',
  'cutover',
  'keeper',
  'stragglers',
  'latency',
  'benchmark',
  'unfence',
  'rollback',
]);
