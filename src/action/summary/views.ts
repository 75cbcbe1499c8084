import type { Route } from '../../contract/finding.ts';
import type { HostReplyOf, MigrationRecord, SourceTuning } from '../../contract/host-commands.ts';
import type { JobState } from '../../contract/job-state.ts';
import type {
  BackupReport,
  BenchmarkReport,
  CutoverReport,
  LatencyReport,
  PreflightReport,
  RollbackReport,
  StragglersReport,
  SyncReport,
  VerifyReport,
} from '../../contract/reports.ts';
import type { ErrorRecord } from '../../core/errors.ts';

/** Who approved a run of the workflow. */
export type Approval = {
  readonly by: string;
  readonly environments: readonly string[];
  readonly comment: string;
};

/** What every phase knows of itself, however early it failed. */
export type PhaseHead = {
  readonly migrationId: string;
  readonly replicationGroupId: string;
  readonly route?: Route | undefined;
  readonly result: 'passed' | 'failed';
  readonly error?: ErrorRecord | undefined;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** Where the agent ran, such as `i-0abc (ssm)` or `this runner`. */
  readonly host: string;
  /** What did not stop the phase but somebody should know. */
  readonly warnings: readonly string[];
};

/** An event of the replication group, as ElastiCache worded it. */
export type NativeEvent = { readonly atMs: number; readonly message: string };

/** The target as the ElastiCache API describes it. */
export type TargetState = {
  readonly status: string;
  readonly engine: string;
  readonly engineVersion: string;
  /** `host:port`. */
  readonly primary?: string | undefined;
  readonly reader?: string | undefined;
};

/** How the target is set up for what begins once the applications use it, as the ElastiCache API describes it. */
export type TargetSetup = {
  readonly replicationGroupId: string;
  readonly transitEncryption: boolean;
  /** Whether anybody has to log in. */
  readonly accessControl: boolean;
  readonly multiAz: boolean;
  readonly automaticFailover: boolean;
  readonly memberClusters: readonly string[];
  /** Of the snapshots that ElastiCache makes by itself; 0: none. */
  readonly snapshotRetentionDays?: number | undefined;
  readonly parameterGroup?: string | undefined;
  /** The SNS topic that is told of events; empty where there is none. */
  readonly eventTopic?: string | undefined;
};

/** How writes at the source are fenced, and since when. */
export type FenceState = { readonly method: string; readonly sinceMs: number };

/** What `preflight` found. */
export type PreflightView = PhaseHead & {
  readonly phase: 'preflight';
  readonly report?: PreflightReport | undefined;
};

/** What `backup` made. */
export type BackupView = PhaseHead & {
  readonly phase: 'backup';
  readonly report?: BackupReport | undefined;
  readonly snapshot?: { readonly name: string; readonly status: string } | undefined;
};

/** How far `start-migration` brought the copy. */
export type StartMigrationView = PhaseHead & {
  readonly phase: 'start-migration';
  /** The checks that the phase made again before it changed anything. */
  readonly preflight?: PreflightReport | undefined;
  /** The sync of the agent or, on the native route, the job that watches the replication link. */
  readonly sync?: JobState | undefined;
  /** Only when the sync has ended. */
  readonly report?: SyncReport | undefined;
  readonly nativeEvents?: readonly NativeEvent[] | undefined;
};

/** What `status` saw. */
export type StatusView = PhaseHead & {
  readonly phase: 'status';
  readonly migration?: MigrationRecord | undefined;
  readonly jobs?: readonly JobState[] | undefined;
  readonly tuning?: SourceTuning | undefined;
  /** How far a cutover is that was proved. */
  readonly cutover?: HostReplyOf<'status'>['cutover'];
  /** The sync of its way back, where one is kept. */
  readonly wayBack?: JobState | undefined;
  /** When the applications went back to the source. */
  readonly wentBackAtMs?: number | undefined;
  /** Whether this is the way back itself, and completed. */
  readonly isWayBack?: boolean | undefined;
  readonly target?: TargetState | undefined;
  // The following only once the migration is completed.
  readonly setup?: TargetSetup | undefined;
  readonly fence?: FenceState | undefined;
  readonly stragglers?: StragglersReport | undefined;
  readonly latency?: LatencyReport | undefined;
  readonly benchmark?: BenchmarkReport | undefined;
  readonly nativeEvents?: readonly NativeEvent[] | undefined;
};

/** What `verify` compared. */
export type VerifyView = PhaseHead & {
  readonly phase: 'verify';
  readonly report?: VerifyReport | undefined;
};

/** What `complete-migration` proved and published. */
export type CompleteMigrationView = PhaseHead & {
  readonly phase: 'complete-migration';
  readonly report?: CutoverReport | undefined;
  readonly endpoints?:
    | {
        /** `host:port`. */
        readonly primary?: string | undefined;
        readonly reader?: string | undefined;
        /** Engine and version, such as `valkey 8.2`. */
        readonly engineVersion?: string | undefined;
      }
    | undefined;
  /** Who let it happen, and what did it. */
  readonly proof?:
    | {
        /** Undefined where GitHub was not asked, or did not say. */
        readonly approvals?: readonly Approval[] | undefined;
        readonly toolVersion: string;
        readonly agentSha256: string;
      }
    | undefined;
  /** The sync of the way back that was begun. */
  readonly wayBack?: JobState | undefined;
  /** Whether this was the way back itself. */
  readonly isWayBack?: boolean | undefined;
  readonly stragglers?: StragglersReport | undefined;
  /** The address that the applications had, and what they find at the new one. */
  readonly source?: string | undefined;
  readonly setup?: TargetSetup | undefined;
  readonly nativeEvents?: readonly NativeEvent[] | undefined;
};

/** What `rollback` undid. */
export type RollbackView = PhaseHead & {
  readonly phase: 'rollback';
  readonly report?: RollbackReport | undefined;
  /** Whether it was a way back that was given up. */
  readonly isWayBack?: boolean | undefined;
  readonly nativeEvents?: readonly NativeEvent[] | undefined;
};

/** What `cleanup` removed from the host. */
export type CleanupView = PhaseHead & {
  readonly phase: 'cleanup';
  readonly removed?: readonly string[] | undefined;
};

/** What a phase hands to its summary and annotations; everything beyond the head may be missing when it failed. */
export type PhaseView =
  | PreflightView
  | BackupView
  | StartMigrationView
  | StatusView
  | VerifyView
  | CompleteMigrationView
  | RollbackView
  | CleanupView;
