import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Route, routeSchema } from '../contract/finding.ts';
import { migrationIdSchema, REVERSE_SUFFIX, reverseIdOf } from '../contract/host-commands.ts';
import {
  type KeyDisplay,
  keyDisplaySchema,
  type RepairMode,
  repairModeSchema,
  type VerifyScope,
  verifyScopeSchema,
} from '../contract/jobs.ts';
import { type HashFieldTtl, hashFieldTtlSchema } from '../contract/skipped.ts';
import { MigrationError } from '../core/errors.ts';
import { type HostInputs, readHostInputs } from './host-inputs.ts';
import {
  contradictory,
  malformed,
  type ReadInput,
  readAddress,
  readChoice,
  readCount,
  readFlag,
  readPath,
  readPattern,
  required,
} from './input-readers.ts';
import { readServers, type ServerInputs } from './server-inputs.ts';
import { readSyncInputs, refuseSyncInputs, type SyncInputs } from './sync-inputs.ts';

/** The phases in the order in which a migration runs them. */
export const PHASES = [
  'preflight',
  'backup',
  'start-migration',
  'status',
  'verify',
  'complete-migration',
  'rollback',
  'cleanup',
] as const;
/** A phase: one step of a workflow. */
export type Phase = (typeof PHASES)[number];

/** What every phase needs. */
export type CommonInputs = {
  readonly replicationGroupId: string;
  /** As the host knows it: of the way back, where `direction` says so. */
  readonly migrationId: string;
  /** Whether the phase is one of the way back, from the target to the source. */
  readonly isWayBack: boolean;
  readonly region: string;
  readonly host: HostInputs;
  readonly stateDirectory: string;
  readonly reportDirectory: string;
  readonly waitTimeoutMs: number;
  readonly onCancel: 'keep' | 'stop';
};

/** The way that is asked for. */
export type RouteInputs = {
  readonly route: 'auto' | Route;
  readonly nativeSourceAddress: { host: string; port: number } | undefined;
  readonly allowNativeRdbVersion: boolean;
};

/** How two data sets are compared. */
export type CompareInputs = {
  readonly maxDifferences: number;
  readonly ttlToleranceMs: number;
  readonly keyDisplay: KeyDisplay;
  readonly hashFieldTtl: HashFieldTtl;
};

/** The environment that guards the cutover. */
export type GateInputs = {
  readonly environment: string | undefined;
  readonly allowUnprotected: boolean;
  readonly githubToken: string;
};

type CopyInputs = ServerInputs &
  RouteInputs &
  SyncInputs & {
    readonly flushTarget: boolean;
    readonly hashFieldTtl: HashFieldTtl;
    /** Whether a way back is to be kept. */
    readonly reverse: boolean;
  };

/** The phases that the way back of a migration goes through. */
const WAY_BACK_PHASES: readonly Phase[] = [
  'start-migration',
  'status',
  'verify',
  'complete-migration',
  'rollback',
];

/** The inputs of one run, by phase: what a phase does not read is not in its type. */
export type Inputs = CommonInputs &
  (
    | ({ phase: 'preflight'; canaryWrite: boolean; gate: GateInputs } & CopyInputs)
    | ({ phase: 'backup'; backupSource: boolean; snapshotTarget: boolean } & ServerInputs)
    | ({ phase: 'start-migration'; keyDisplay: KeyDisplay } & CopyInputs)
    | { phase: 'status'; benchmark: boolean }
    | ({ phase: 'verify'; scope: VerifyScope; repair: RepairMode | undefined } & ServerInputs & CompareInputs)
    | ({
        phase: 'complete-migration';
        gate: GateInputs;
        allowSkipped: boolean;
        maxVerificationAgeMs: number;
        reviewedVerificationId: string | undefined;
        maxWritePauseMs: number;
        stragglerWatchMs: number;
        reverse: boolean;
      } & ServerInputs &
        SyncInputs &
        CompareInputs)
    | ({ phase: 'rollback'; flushTarget: boolean } & ServerInputs)
    | { phase: 'cleanup' }
  );
/** The inputs of one phase. */
export type InputsOf<Name extends Phase> = Extract<Inputs, { phase: Name }>;

/** No input has a use for more, and requests to the host must stay small. */
const INPUT_CHARACTERS_MAX = 2000;

/** What of the runner's environment stands in for inputs that are not given. */
export type RunnerDefaults = {
  readonly region: string | undefined;
  readonly temporaryDirectory: string | undefined;
};

/**
 * Reads all inputs of the phase, once, before anything else happens.
 *
 * @throws input-missing, input-malformed, input-unknown-phase, input-contradictory; each names the input.
 */
export function parseInputs(readRaw: ReadInput, defaults: RunnerDefaults): Inputs {
  const read: ReadInput = (name) => {
    const text = readRaw(name);
    if (text.length > INPUT_CHARACTERS_MAX)
      throw malformed(name, text, `at most ${INPUT_CHARACTERS_MAX} characters`);
    return text;
  };
  const phase = readPhase(read);
  const common = readCommon(read, defaults);
  if (common.isWayBack && !WAY_BACK_PHASES.includes(phase)) {
    throw contradictory(`\`direction\` is "reverse", which \`phase\` "${phase}" does not know.`);
  }
  switch (phase) {
    case 'preflight':
      return {
        phase,
        ...common,
        ...readCopy(read, common),
        canaryWrite: readFlag(read, 'canary-write'),
        gate: readGate(read),
      };
    case 'backup': {
      const backupSource = readFlag(read, 'backup-source');
      const snapshotTarget = readFlag(read, 'snapshot-target');
      if (!backupSource && !snapshotTarget) {
        throw contradictory(
          '`backup-source` and `snapshot-target` are both false: there is nothing to back up.',
        );
      }
      return { phase, ...common, ...readServers(read, common), backupSource, snapshotTarget };
    }
    case 'start-migration':
      return { phase, ...common, ...readCopy(read, common), keyDisplay: readKeyDisplay(read) };
    case 'status': {
      const benchmark = readFlag(read, 'benchmark');
      if (benchmark && common.isWayBack) {
        throw contradictory(
          '`benchmark` is true, but `direction` is "reverse": the source gets no such load.',
        );
      }
      return { phase, ...common, benchmark };
    }
    case 'verify':
      return {
        phase,
        ...common,
        ...readServers(read, common),
        ...readCompare(read),
        scope: readChoice(read, 'verify-scope', verifyScopeSchema.options),
        repair: readRepair(read),
      };
    case 'complete-migration':
      return {
        phase,
        ...common,
        ...readServers(read, common),
        ...readCompare(read),
        gate: readGate(read),
        allowSkipped: readFlag(read, 'allow-skipped'),
        maxVerificationAgeMs:
          readCount(read, 'verification-max-age-minutes', { least: 1, most: 100_000 }) * 60_000,
        reviewedVerificationId: readVerificationId(read),
        maxWritePauseMs: readCount(read, 'max-write-pause-seconds', { least: 1, most: 3600 }) * 1000,
        stragglerWatchMs: readCount(read, 'straggler-watch-seconds', { least: 0, most: 3600 }) * 1000,
        ...readSyncInputs(read),
        reverse: readReverse(read, common),
      };
    case 'rollback':
      return { phase, ...common, ...readServers(read, common), flushTarget: readFlag(read, 'flush-target') };
    default:
      return { phase, ...common };
  }
}

function readVerificationId(read: ReadInput): string | undefined {
  const name = 'reviewed-verification-id';
  const given = { pattern: /^[\w.-]{1,100}$/, expected: 'the output `verification-id` of `verify`' };
  return read(name) === '' ? undefined : readPattern(read, name, given);
}

/** Where the report goes; known before everything else, because an error in the inputs is reported too. */
export function reportDirectory(read: ReadInput, { temporaryDirectory }: RunnerDefaults): string {
  return read('report-directory') || join(temporaryDirectory ?? tmpdir(), 'valkey-migrate');
}

function readPhase(read: ReadInput): Phase {
  const text = required(read, 'phase');
  const phase = PHASES.find((name) => name === text);
  if (phase === undefined)
    throw new MigrationError('input-unknown-phase', `\`phase\` is "${text.slice(0, 100)}".`);
  return phase;
}

function readCommon(read: ReadInput, defaults: RunnerDefaults): CommonInputs {
  const replicationGroupId = readPattern(read, 'replication-group-id', {
    pattern: /^(?!.*--)[A-Za-z](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?$/,
    expected: 'a letter, then letters, digits and single hyphens, at most 40 characters',
  });
  const migrationId = read('migration-id') || replicationGroupId;
  if (!migrationIdSchema.safeParse(migrationId).success || migrationId.endsWith(REVERSE_SUFFIX)) {
    const expected = `letters, digits and hyphens, at most 64 characters, not ending in ${REVERSE_SUFFIX}`;
    throw malformed('migration-id', migrationId, expected);
  }
  const isWayBack = readChoice(read, 'direction', ['forward', 'reverse'] as const) === 'reverse';
  const region = read('aws-region') || defaults.region || '';
  if (region === '') {
    throw new MigrationError('input-missing', 'No AWS region is known.', {
      remedy: 'Give `aws-region`, or run aws-actions/configure-aws-credentials before this step.',
    });
  }
  if (!/^[a-z]{2}(-[a-z]+)+-\d{1,2}$/.test(region)) {
    throw malformed('aws-region', region, 'a region such as eu-central-1');
  }
  return {
    replicationGroupId,
    migrationId: isWayBack ? reverseIdOf(migrationId) : migrationId,
    isWayBack,
    region,
    host: readHostInputs(read),
    stateDirectory: readPath(read, 'state-directory') ?? '/var/lib/valkey-migrate',
    reportDirectory: reportDirectory(read, defaults),
    waitTimeoutMs: readCount(read, 'wait-timeout-minutes', { least: 1, most: 10_000 }) * 60_000,
    onCancel: readChoice(read, 'on-cancel', ['keep', 'stop'] as const),
  };
}

function readCopy(read: ReadInput, common: CommonInputs): CopyInputs {
  const route = readChoice(read, 'route', ['auto', ...routeSchema.options] as const);
  const nativeSourceAddress = readAddress(read, 'native-source-address');
  const allowNativeRdbVersion = readFlag(read, 'allow-native-rdb-version');
  const mayBeNative = route === 'auto' || route === 'native';
  if (!mayBeNative && nativeSourceAddress !== undefined) {
    throw contradictory(`\`native-source-address\` is given, but \`route\` is "${route}".`);
  }
  if (!mayBeNative && allowNativeRdbVersion) {
    throw contradictory(`\`allow-native-rdb-version\` is true, but \`route\` is "${route}".`);
  }
  const sync = readSyncInputs(read);
  if (route !== 'auto') refuseSyncInputs(sync, route);
  return {
    ...readServers(read, common),
    route,
    nativeSourceAddress,
    allowNativeRdbVersion,
    flushTarget: readFlag(read, 'flush-target'),
    ...sync,
    hashFieldTtl: readHashFieldTtl(read),
    reverse: readReverse(read, common),
  };
}

function readReverse(read: ReadInput, { migrationId, isWayBack }: CommonInputs): boolean {
  const reverse = readFlag(read, 'reverse');
  if (!reverse || isWayBack) return false;
  if (migrationIdSchema.safeParse(reverseIdOf(migrationId)).success) return true;
  throw malformed('migration-id', migrationId, 'at most 56 characters, where `reverse` is true');
}

function readCompare(read: ReadInput): CompareInputs {
  return {
    maxDifferences: readCount(read, 'max-differences', { least: 0, most: 1_000_000_000 }),
    ttlToleranceMs: readCount(read, 'ttl-tolerance-ms', { least: 0, most: 86_400_000 }),
    keyDisplay: readKeyDisplay(read),
    hashFieldTtl: readHashFieldTtl(read),
  };
}

function readRepair(read: ReadInput): RepairMode | undefined {
  const choice = readChoice(read, 'repair', ['false', ...repairModeSchema.options] as const);
  return choice === 'false' ? undefined : choice;
}

function readKeyDisplay(read: ReadInput): KeyDisplay {
  return readChoice(read, 'key-display', keyDisplaySchema.options);
}

function readHashFieldTtl(read: ReadInput): HashFieldTtl {
  return readChoice(read, 'hash-field-ttl', hashFieldTtlSchema.options);
}

function readGate(read: ReadInput): GateInputs {
  const environment = read('cutover-environment');
  const allowUnprotected = readFlag(read, 'allow-unprotected-environment');
  return {
    environment: environment === '' ? undefined : environment,
    allowUnprotected,
    githubToken: read('github-token'),
  };
}
