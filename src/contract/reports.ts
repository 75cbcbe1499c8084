import { z } from 'zod';
import { findingSchema, routeSchema, routeVerdictSchema } from './finding.ts';
import { repairModeSchema } from './jobs.ts';
import { skippedSchema } from './skipped.ts';

/** A server as preflight found it. */
export const serverFactsSchema = z.strictObject({
  address: z.string(),
  kind: z.enum(['redis', 'valkey']),
  version: z.string(),
  role: z.string(),
  /** Keys by database number, as DBSIZE counts them (expired ones included). */
  databases: z.array(z.strictObject({ db: z.int(), keys: z.number() })),
  usedMemoryBytes: z.number(),
  maxMemoryBytes: z.number(),
  /** Round-trip time of PING from the host. */
  latencyMs: z.number(),
});
/** See {@link serverFactsSchema}. */
export type ServerFacts = z.infer<typeof serverFactsSchema>;

/** What preflight found; `route` is undefined when no route serves. */
export const preflightReportSchema = z.strictObject({
  kind: z.literal('preflight'),
  findings: z.array(findingSchema),
  route: routeSchema.optional(),
  verdicts: z.array(routeVerdictSchema),
  source: serverFactsSchema.optional(),
  target: serverFactsSchema.optional(),
});
/** See {@link preflightReportSchema}. */
export type PreflightReport = z.infer<typeof preflightReportSchema>;

/** The proof of a BGSAVE: LASTSAVE moved and the last status is ok. */
export const backupReportSchema = z.strictObject({
  kind: z.literal('backup'),
  /** Where the source keeps the file; undefined where CONFIG is denied. */
  rdbPath: z.string().optional(),
  lastSaveBeforeMs: z.number(),
  lastSaveAfterMs: z.number(),
  durationMs: z.number(),
  keys: z.number(),
});
/** See {@link backupReportSchema}. */
export type BackupReport = z.infer<typeof backupReportSchema>;

/** Where in the source's history the target stands. */
export const checkpointSchema = z.strictObject({
  replid: z.string(),
  offset: z.number(),
  db: z.int(),
});
/** See {@link checkpointSchema}. */
export type Checkpoint = z.infer<typeof checkpointSchema>;

/** What a sync did until it ended. */
export const syncReportSchema = z.strictObject({
  kind: z.literal('sync'),
  checkpoint: checkpointSchema.optional(),
  copiedKeys: z.number(),
  copiedBytes: z.number(),
  copyDurationMs: z.number(),
  /** Commands of the stream that were applied. */
  appliedCommands: z.number(),
  reconnects: z.number(),
  /** How often the target was reconciled with a full copy over its data; absent when never. */
  reconciles: z.number().optional(),
  /** Keys that were removed from the target then, because the source had them no more. */
  removedKeys: z.number().optional(),
  /** What could not be carried, since the data was copied. */
  skipped: z.array(skippedSchema),
});
/** See {@link syncReportSchema}. */
export type SyncReport = z.infer<typeof syncReportSchema>;

/** The replication link of the target on the native route, as INFO replication shows it on both sides. */
export const linkReportSchema = z.strictObject({
  kind: z.literal('link'),
  role: z.string(),
  /** `up` or `down`; empty where the target is no replica. */
  linkStatus: z.string(),
  sourceOffset: z.number(),
  targetOffset: z.number(),
  lagBytes: z.number(),
  /** Whether the link is up and the target within reach of the source. */
  live: z.boolean(),
});
/** See {@link linkReportSchema}. */
export type LinkReport = z.infer<typeof linkReportSchema>;

/** How a key differs. */
export const differenceKindSchema = z.enum([
  'missing',
  'extra',
  'type',
  'value',
  'ttl',
  'stream-metadata',
  'function',
]);
/** See {@link differenceKindSchema}. */
export type DifferenceKind = z.infer<typeof differenceKindSchema>;

/** One difference, with the key shown, hashed or hidden as the request says. */
export const differenceSchema = z.strictObject({
  db: z.int(),
  key: z.string(),
  type: z.string(),
  kind: differenceKindSchema,
  /** What differs, in words without values: fields, members, lengths, first differing offset, both TTLs. */
  detail: z.string(),
});
/** See {@link differenceSchema}. */
export type Difference = z.infer<typeof differenceSchema>;

/** The most differences that a report lists; the rest is counted in `cut`. */
export const DIFFERENCES_LISTED_MAX = 1000;

/** A full verification that a delta goes on from. */
export const verificationBaseSchema = z.strictObject({
  verificationId: z.string(),
  startedAtMs: z.number(),
  finishedAtMs: z.number(),
  keysCompared: z.number(),
});
/** See {@link verificationBaseSchema}. */
export type VerificationBase = z.infer<typeof verificationBaseSchema>;

/** The file on the host that lists every differing key, one line of JSON each. */
export const differenceListFileSchema = z.strictObject({
  path: z.string(),
  /** How many keys stand in it. */
  keys: z.number(),
  bytes: z.number(),
  /** How many do not, and why; not there when it is complete. */
  keysCut: z.number().optional(),
  cutBecause: z.string().optional(),
});
/** See {@link differenceListFileSchema}. */
export type DifferenceListFile = z.infer<typeof differenceListFileSchema>;

const differenceCountsSchema = z.array(z.strictObject({ kind: differenceKindSchema, count: z.number() }));

/** The most reasons of failure that a repair tells apart. */
export const REPAIR_FAILURES_MAX = 10;

/** What a repair did, before the keys were compared again. */
export const repairReportSchema = z.strictObject({
  mode: repairModeSchema,
  /** How often differing keys were written anew and compared again. */
  rounds: z.number(),
  /** Keys that were written anew, and keys that were removed because the source has none. */
  rewritten: z.number(),
  removed: z.number(),
  /** The differences that were found before it. */
  before: z.strictObject({
    total: z.number(),
    byKind: differenceCountsSchema,
    /** The keys that were found different before it. */
    list: differenceListFileSchema.optional(),
  }),
  /** Why keys could not be repaired, in the last round. */
  failures: z
    .array(z.strictObject({ reason: z.string().max(300), count: z.number() }))
    .max(REPAIR_FAILURES_MAX),
});
/** See {@link repairReportSchema}. */
export type RepairReport = z.infer<typeof repairReportSchema>;

/** The diff report: what was compared, what differs, and whether that passes. */
export const verifyReportSchema = z.strictObject({
  kind: z.literal('verify'),
  verificationId: z.string(),
  migrationId: z.string(),
  scope: z.enum(['full', 'delta']),
  /** Of a delta: the full verification without a difference that it goes on from. */
  base: verificationBaseSchema.optional(),
  /** Why all keys were compared although a delta was asked for. */
  fullReason: z.string().max(200).optional(),
  passed: z.boolean(),
  startedAtMs: z.number(),
  finishedAtMs: z.number(),
  sourceAddress: z.string(),
  targetAddress: z.string(),
  keysCompared: z.number(),
  /** Keys that changed while they were compared and settled equal, or expired on one side first. */
  inFlight: z.number(),
  /** Keys that were not compared, or not in all, because the target cannot hold them; neither equal nor different. */
  skipped: z.array(skippedSchema),
  byDatabase: z.array(
    z.strictObject({
      db: z.int(),
      sourceKeys: z.number(),
      targetKeys: z.number(),
      differences: z.number(),
    }),
  ),
  byType: z.array(z.strictObject({ type: z.string(), keys: z.number(), differences: z.number() })),
  differences: z.strictObject({
    total: z.number(),
    byKind: differenceCountsSchema,
    listed: z.array(differenceSchema).max(DIFFERENCES_LISTED_MAX),
    /** How many are not listed. */
    cut: z.number(),
  }),
  maxDifferences: z.int(),
  /** All keys that differ; not there when there are none. */
  list: differenceListFileSchema.optional(),
  /** Only when a repair was asked for and something differed; `differences` are those that are left after it. */
  repair: repairReportSchema.optional(),
});
/** See {@link verifyReportSchema}. */
export type VerifyReport = z.infer<typeof verifyReportSchema>;

/** The most groups of clients that a report lists. */
export const CLIENTS_LISTED_MAX = 50;

/** Connections from one address by one user under one name. */
export const clientGroupSchema = z.strictObject({
  address: z.string(),
  /** Empty before Redis 6.0. */
  user: z.string(),
  /** Of CLIENT SETNAME; mostly empty. */
  name: z.string(),
  /** The most at one time. */
  connections: z.number(),
  /** Of one that writes, what it wrote with. */
  lastCommand: z.string(),
  writes: z.boolean(),
});
/** See {@link clientGroupSchema}. */
export type ClientGroup = z.infer<typeof clientGroupSchema>;

/** Who is connected; `more`: groups that are not listed. */
export const clientListSchema = z.strictObject({
  groups: z.array(clientGroupSchema).max(CLIENTS_LISTED_MAX),
  more: z.number(),
});
/** See {@link clientListSchema}. */
export type ClientList = z.infer<typeof clientListSchema>;

/** Who still came to the fenced source. */
export const stragglersReportSchema = z.strictObject({
  kind: z.literal('stragglers'),
  watchedMs: z.number(),
  /** Writes that the source refused meanwhile; absent where it does not count them. */
  refusedWrites: z.number().optional(),
  clients: clientListSchema,
});
/** See {@link stragglersReportSchema}. */
export type StragglersReport = z.infer<typeof stragglersReportSchema>;

/** How long requests took from their sending to their answer, in milliseconds with fractions. */
export const roundTripsSchema = z.strictObject({
  count: z.number(),
  medianMs: z.number(),
  p95Ms: z.number(),
  p99Ms: z.number(),
  maxMs: z.number(),
});
/** See {@link roundTripsSchema}. */
export type RoundTrips = z.infer<typeof roundTripsSchema>;

/** The most primaries that a report tells apart: as many as a cluster may have. */
export const PRIMARIES_MAX = 128;

/** Round-trip times from the host, one request after the other, to the server or to every primary of a cluster. */
export const latencyReportSchema = z.strictObject({
  kind: z.literal('latency'),
  primaries: z
    .array(
      z.strictObject({
        address: z.string(),
        pings: roundTripsSchema,
        /** Of GET of a key that is not there. */
        reads: roundTripsSchema,
      }),
    )
    .max(PRIMARIES_MAX),
});
/** See {@link latencyReportSchema}. */
export type LatencyReport = z.infer<typeof latencyReportSchema>;

const benchmarkPartSchema = z.strictObject({ durationMs: z.number(), roundTrips: roundTripsSchema });

/** What the target did under a small load of ours. */
export const benchmarkReportSchema = z.strictObject({
  kind: z.literal('benchmark'),
  address: z.string(),
  keys: z.number(),
  valueBytes: z.number(),
  /** How many requests were under way at a time. */
  inFlight: z.number(),
  writes: benchmarkPartSchema,
  reads: benchmarkPartSchema,
  /** Whether every key of the benchmark is removed; else they expire within a minute. */
  removed: z.boolean(),
});
/** See {@link benchmarkReportSchema}. */
export type BenchmarkReport = z.infer<typeof benchmarkReportSchema>;

/** What a cutover leaves behind. */
export const cutoverReportSchema = z.strictObject({
  kind: z.literal('cutover'),
  route: routeSchema,
  fencedAtMs: z.number(),
  /** How writes are fenced at the source. */
  fence: z.string(),
  sourceReplid: z.string(),
  sourceOffset: z.number(),
  targetOffset: z.number(),
  /** Of a source in cluster mode: each shard, by its slots; the places above are then those of all together. */
  sourceShards: z
    .array(
      z.strictObject({
        slots: z.string(),
        sourceAddress: z.string(),
        sourceReplid: z.string(),
        sourceOffset: z.number(),
        targetOffset: z.number(),
      }),
    )
    .optional(),
  drainDurationMs: z.number(),
  proofDurationMs: z.number(),
  /** What it took to correct expiry times before the proof, and to restore the exact ones after it. */
  settleDurationMs: z.number(),
  /** From the fence until the target could take over; on the route native until the proof was complete. */
  writePauseMs: z.number(),
  /** Of a way back: its fence did not stand any more when this was told; the other side had taken over before. */
  isFenceLost: z.boolean().optional(),
  /** Who was connected to the source before the fence; absent where it does not tell. */
  clients: clientListSchema.optional(),
  verification: verifyReportSchema,
});
/** See {@link cutoverReportSchema}. */
export type CutoverReport = z.infer<typeof cutoverReportSchema>;

/** What became of a cutover under watch: it ended by itself, or was ended in its place. */
export const keeperReportSchema = z.strictObject({
  kind: z.literal('keeper'),
  outcome: z.enum(['ended', 'lifted', 'handed-over']),
});
/** See {@link keeperReportSchema}. */
export type KeeperReport = z.infer<typeof keeperReportSchema>;

/** Whether there was a fence to lift. */
export const unfenceReportSchema = z.strictObject({ kind: z.literal('unfence'), lifted: z.boolean() });

/** What a rollback undid, step by step. */
export const rollbackReportSchema = z.strictObject({
  kind: z.literal('rollback'),
  steps: z.array(z.strictObject({ step: z.string(), outcome: z.string() })),
});
/** See {@link rollbackReportSchema}. */
export type RollbackReport = z.infer<typeof rollbackReportSchema>;

/** The report of any job, by `kind`. */
export const jobReportSchema = z.discriminatedUnion('kind', [
  preflightReportSchema,
  backupReportSchema,
  syncReportSchema,
  linkReportSchema,
  verifyReportSchema,
  cutoverReportSchema,
  keeperReportSchema,
  stragglersReportSchema,
  latencyReportSchema,
  benchmarkReportSchema,
  unfenceReportSchema,
  rollbackReportSchema,
]);
/** See {@link jobReportSchema}. */
export type JobReport = z.infer<typeof jobReportSchema>;
/** The report of one kind of job. */
export type JobReportOf<Kind extends JobReport['kind']> = Extract<JobReport, { kind: Kind }>;
