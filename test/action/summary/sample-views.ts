import type { PhaseHead, PhaseView } from '../../../src/action/summary/views.ts';
import type { Finding } from '../../../src/contract/finding.ts';
import type { JobState, SeriesPoint } from '../../../src/contract/job-state.ts';
import type { CutoverReport, PreflightReport, VerifyReport } from '../../../src/contract/reports.ts';
import { ERROR_CODES, type ErrorCode } from '../../../src/core/error-codes.ts';
import type { ErrorRecord } from '../../../src/core/errors.ts';

const START_MS = Date.UTC(2026, 2, 14, 9, 26, 53);

/** The head of a phase that passed at a fixed time. */
export const SAMPLE_HEAD: PhaseHead = {
  migrationId: 'sessions',
  replicationGroupId: 'sessions',
  route: 'replica',
  result: 'passed',
  startedAtMs: START_MS,
  finishedAtMs: START_MS + 42_300,
  host: 'i-0123456789abcdef0 (ssm)',
  warnings: [],
};

/** One view for each phase and outcome, by the name of its golden file. */
export const SAMPLE_VIEWS: Readonly<Record<string, PhaseView>> = {
  'preflight-passed': { ...SAMPLE_HEAD, phase: 'preflight', report: preflightReport([largeKeyFinding()]) },
  'preflight-failed': {
    ...failedHead(
      'route-native-rdb-version',
      'Route `native` was asked for, and it does not serve this pair.',
    ),
    route: undefined,
    phase: 'preflight',
    report: {
      ...preflightReport([rdbFinding(), memoryFinding(), largeKeyFinding()]),
      route: undefined,
    },
  },
  'preflight-failed-early': {
    ...failedHead(
      'instance-offline',
      'Instance `i-0123456789abcdef0` is managed, but its agent is `ConnectionLost`.',
    ),
    route: undefined,
    phase: 'preflight',
  },
  'backup-passed': {
    ...SAMPLE_HEAD,
    phase: 'backup',
    report: {
      kind: 'backup',
      rdbPath: '/var/lib/redis/dump.rdb',
      lastSaveBeforeMs: START_MS - 3_600_000,
      lastSaveAfterMs: START_MS + 2000,
      durationMs: 1870,
      keys: 200_123,
    },
    snapshot: { name: 'valkey-migrate-sessions-20260314', status: 'available' },
  },
  'backup-failed': {
    ...failedHead('backup-failed', 'BGSAVE at `127.0.0.1:6379` ended with `err`: No space left on device.'),
    phase: 'backup',
    snapshot: { name: 'valkey-migrate-sessions-20260314', status: 'creating' },
  },
  'start-migration-passed': { ...SAMPLE_HEAD, phase: 'start-migration', sync: syncState('live') },
  'start-migration-passed-skipped': { ...SAMPLE_HEAD, phase: 'start-migration', sync: skippingSync() },
  'start-migration-native-passed': {
    ...SAMPLE_HEAD,
    route: 'native',
    phase: 'start-migration',
    sync: linkState(),
    warnings: [
      '`allow-native-rdb-version` is set: a target that refuses the RDB version has been wiped by then.',
    ],
    nativeEvents: [
      { atMs: START_MS + 5000, message: 'Test migration succeeded for replication group sessions' },
      { atMs: START_MS + 30_000, message: 'Data migration started for replication group sessions' },
    ],
  },
  'start-migration-failed': {
    ...failedHead(
      'sync-lost',
      'The source closed the connection: client output buffer limit of `replica` reached.',
    ),
    phase: 'start-migration',
    sync: { ...syncState('copying'), status: 'failed' },
    report: {
      kind: 'sync',
      copiedKeys: 90_400,
      copiedBytes: 47_185_920,
      copyDurationMs: 31_000,
      appliedCommands: 0,
      reconnects: 3,
      skipped: [
        {
          what: 'keys',
          reason: 'module ReJSON-RL',
          count: 12,
          sample: ['db0 product:`graph`', 'db3 cart|1'],
        },
        { what: 'commands', reason: 'module command JSON.SET', count: 1, sample: [] },
        { what: 'keys', reason: 'hash-field-ttl', count: 7, sample: ['db0 sessions'] },
      ],
    },
  },
  'start-migration-refused': {
    ...failedHead(
      'route-native-rdb-version',
      'Route `native` does not serve this pair: the source writes RDB version 12.',
    ),
    phase: 'start-migration',
    preflight: { ...preflightReport([rdbFinding()]), route: undefined },
  },
  'status-passed': {
    ...SAMPLE_HEAD,
    phase: 'status',
    migration: {
      migrationId: 'sessions',
      repository: 'acme/sessions',
      route: 'replica',
      source: { host: '10.0.4.17', port: 6379, tls: false },
      target: { host: 'master.sessions.abc123.apn2.cache.amazonaws.com', port: 6379, tls: true },
      createdAtMs: START_MS - 90_000,
    },
    jobs: [
      syncState('copying'),
      { ...syncState('done'), kind: 'preflight', status: 'succeeded', series: [] },
    ],
    tuning: {
      sourceAddress: '10.0.4.17:6379',
      settings: [
        { name: 'rdbcompression', before: 'yes', set: 'no' },
        {
          name: 'client-output-buffer-limit',
          before: 'slave 268435456 67108864 60',
          set: 'slave 1073741824 1073741824 60',
        },
      ],
    },
    target: {
      status: 'available',
      engine: 'valkey',
      engineVersion: '8.2',
      primary: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379',
    },
  },
  'status-passed-completed': {
    ...SAMPLE_HEAD,
    route: 'native',
    phase: 'status',
    migration: {
      migrationId: 'sessions',
      repository: 'acme/sessions',
      route: 'native',
      source: { host: '10.0.4.17', port: 6379, tls: false },
      target: { host: 'sessions.abc123.ng.0001.apn2.cache.amazonaws.com', port: 6379, tls: false },
      createdAtMs: START_MS - 90_000,
      completedAtMs: START_MS - 10_000,
    },
    jobs: [],
    target: {
      status: 'available',
      engine: 'valkey',
      engineVersion: '8.2',
      primary: 'sessions.abc123.ng.0001.apn2.cache.amazonaws.com:6379',
    },
    setup: {
      replicationGroupId: 'sessions',
      transitEncryption: false,
      accessControl: false,
      multiAz: false,
      automaticFailover: false,
      memberClusters: ['sessions-001'],
      snapshotRetentionDays: 0,
      parameterGroup: 'default.valkey8',
      eventTopic: '',
    },
    fence: { method: 'CLIENT PAUSE WRITE', sinceMs: START_MS - 12_000 },
    stragglers: {
      kind: 'stragglers',
      watchedMs: 30_012,
      clients: {
        groups: [
          { address: '10.0.4.18', user: '', name: '', connections: 3, lastCommand: 'get', writes: false },
        ],
        more: 0,
      },
    },
    tuning: {
      sourceAddress: '10.0.4.17:6379',
      settings: [{ name: 'repl-backlog-size', before: '1048576', set: '67108864' }],
    },
    latency: {
      kind: 'latency',
      primaries: [
        {
          address: 'sessions.abc123.ng.0001.apn2.cache.amazonaws.com:6379',
          pings: { count: 500, medianMs: 0.312, p95Ms: 0.481, p99Ms: 0.93, maxMs: 14.2 },
          reads: { count: 500, medianMs: 0.334, p95Ms: 0.512, p99Ms: 1.07, maxMs: 2.6 },
        },
      ],
    },
    benchmark: {
      kind: 'benchmark',
      address: 'sessions.abc123.ng.0001.apn2.cache.amazonaws.com:6379',
      keys: 1000,
      valueBytes: 128,
      inFlight: 16,
      writes: {
        durationMs: 812.4,
        roundTrips: { count: 10_000, medianMs: 1.21, p95Ms: 1.9, p99Ms: 3.4, maxMs: 21.7 },
      },
      reads: {
        durationMs: 640.1,
        roundTrips: { count: 10_000, medianMs: 0.98, p95Ms: 1.4, p99Ms: 2.2, maxMs: 9.1 },
      },
      removed: true,
    },
  },
  'status-passed-way-back': {
    ...SAMPLE_HEAD,
    phase: 'status',
    migration: {
      migrationId: 'sessions',
      repository: 'acme/sessions',
      route: 'replica',
      source: { host: '10.0.4.17', port: 6379, tls: false },
      target: { host: 'master.sessions.abc123.apn2.cache.amazonaws.com', port: 6379, tls: true },
      createdAtMs: START_MS - 90_000,
      completedAtMs: START_MS - 10_000,
    },
    jobs: [],
    fence: {
      method: 'ACL SETUSER -@write for 2 users; only valkey-migrate-sessions may write',
      sinceMs: START_MS - 12_000,
    },
    wayBack: syncState('live'),
  },
  'status-passed-gone-back': {
    ...SAMPLE_HEAD,
    phase: 'status',
    migration: {
      migrationId: 'sessions',
      repository: 'acme/sessions',
      route: 'replica',
      source: { host: '10.0.4.17', port: 6379, tls: false },
      target: { host: 'master.sessions.abc123.apn2.cache.amazonaws.com', port: 6379, tls: true },
      createdAtMs: START_MS - 90_000,
      completedAtMs: START_MS - 60_000,
    },
    jobs: [],
    wentBackAtMs: START_MS - 10_000,
  },
  'status-failed': {
    ...failedHead('migration-unknown', 'The host knows no migration `sessions`.'),
    phase: 'status',
    jobs: [],
  },
  'verify-passed': { ...SAMPLE_HEAD, phase: 'verify', report: verifyReport(0) },
  'verify-passed-skipped': {
    ...SAMPLE_HEAD,
    phase: 'verify',
    report: {
      ...verifyReport(0),
      skipped: [{ what: 'keys', reason: 'module vectorset', count: 1200, sample: ['db0 9f86d081884c7d65'] }],
    },
  },
  'verify-failed': {
    ...failedHead('verification-different', '4 differences were found, 0 are allowed.'),
    phase: 'verify',
    report: verifyReport(4),
  },
  'verify-passed-repaired': {
    ...SAMPLE_HEAD,
    phase: 'verify',
    report: {
      ...verifyReport(0),
      list: listFile(412),
      repair: {
        mode: 'differences-and-extras',
        rounds: 2,
        rewritten: 410,
        removed: 4,
        before: {
          total: 412,
          byKind: [
            { kind: 'missing', count: 408 },
            { kind: 'extra', count: 4 },
          ],
        },
        failures: [],
      },
    },
  },
  'verify-failed-list-cut': {
    ...failedHead('verification-different', '4 differences were found, 0 are allowed.'),
    phase: 'verify',
    report: {
      ...verifyReport(4),
      list: {
        ...listFile(3),
        keysCut: 1,
        cutBecause: 'the disk of the host has less than 256 MiB left',
      },
      repair: {
        mode: 'differences',
        rounds: 1,
        rewritten: 5,
        removed: 0,
        before: { total: 9, byKind: [{ kind: 'value', count: 9 }] },
        failures: [{ reason: 'it does not exist at the source, and extra keys are kept', count: 4 }],
      },
    },
  },
  'verify-failed-many': {
    ...failedHead('verification-different', '1,000,000 differences were found, 0 are allowed.'),
    phase: 'verify',
    report: verifyReport(1_000_000, 12),
  },
  'complete-migration-passed': {
    ...SAMPLE_HEAD,
    phase: 'complete-migration',
    report: {
      ...cutoverReport(verifyReport(0)),
      clients: {
        groups: [
          {
            address: '10.0.4.17',
            user: 'shop',
            name: 'cart-api',
            connections: 12,
            lastCommand: 'hset',
            writes: true,
          },
          {
            address: '10.0.4.18',
            user: 'default',
            name: '',
            connections: 3,
            lastCommand: 'get',
            writes: false,
          },
        ],
        more: 0,
      },
    },
    proof: {
      approvals: [{ by: 'octocat', environments: ['production-cutover'], comment: 'Go.' }],
      toolVersion: '1.0.0',
      agentSha256: 'b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c',
    },
    stragglers: {
      kind: 'stragglers',
      watchedMs: 30_012,
      refusedWrites: 41,
      clients: {
        groups: [
          {
            address: '10.0.4.17',
            user: 'shop',
            name: 'cart-api',
            connections: 2,
            lastCommand: 'hset',
            writes: true,
          },
        ],
        more: 3,
      },
    },
    source: '10.0.4.17:6379',
    setup: {
      replicationGroupId: 'sessions',
      transitEncryption: true,
      accessControl: true,
      multiAz: true,
      automaticFailover: true,
      memberClusters: ['sessions-001', 'sessions-002'],
      snapshotRetentionDays: 7,
      parameterGroup: 'sessions-valkey8',
      eventTopic: 'arn:aws:sns:ap-northeast-2:111122223333:redis-events',
    },
    endpoints: {
      primary: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379',
      reader: 'replica.sessions.abc123.apn2.cache.amazonaws.com:6379',
      engineVersion: 'valkey 8.2',
    },
  },
  'complete-migration-passed-reverse': {
    ...SAMPLE_HEAD,
    phase: 'complete-migration',
    report: {
      ...cutoverReport(verifyReport(0)),
      fence: 'ACL SETUSER -@write for 2 users; only valkey-migrate-sessions may write',
    },
    wayBack: syncState('copying'),
    source: '10.0.4.17:6379',
    endpoints: { primary: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379' },
  },
  'complete-migration-passed-shards': {
    ...SAMPLE_HEAD,
    phase: 'complete-migration',
    report: {
      ...cutoverReport(verifyReport(0)),
      fence: 'min-replicas-to-write 1000000 at 2 primaries',
      sourceShards: [
        {
          slots: '0-8191',
          sourceAddress: '10.0.4.17:6379',
          sourceReplid: '8371445ee67b4b1ad8a3f4f1f6ab1d0e4c3a9e02',
          sourceOffset: 42_056_195,
          targetOffset: 42_056_195,
        },
        {
          slots: '8192-16383',
          sourceAddress: '10.0.4.18:6379',
          sourceReplid: '1d0e4c3a9e028371445ee67b4b1ad8a3f4f1f6ab',
          sourceOffset: 42_056_195,
          targetOffset: 42_056_209,
        },
      ],
    },
    source: '10.0.4.17:6379',
    endpoints: { primary: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379' },
  },
  'complete-migration-went-back': {
    ...SAMPLE_HEAD,
    migrationId: 'sessions-reverse',
    route: 'scan',
    phase: 'complete-migration',
    report: { ...cutoverReport(verifyReport(0)), route: 'scan', fence: 'CLIENT PAUSE WRITE' },
    isWayBack: true,
    source: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379',
    endpoints: { primary: '10.0.4.17:6379' },
  },
  'complete-migration-failed': {
    ...failedHead('verification-different', '4 differences were found behind the fence, 0 are allowed.'),
    phase: 'complete-migration',
    report: cutoverReport(verifyReport(4)),
  },
  'complete-migration-not-promoted': {
    ...failedHead(
      'migration-promotion-failed',
      'ElastiCache did not promote the target; the fence was lifted.',
    ),
    route: 'native',
    phase: 'complete-migration',
    report: {
      ...cutoverReport(verifyReport(0)),
      route: 'native',
      targetOffset: 84_112_404,
      settleDurationMs: 0,
    },
    nativeEvents: [{ atMs: START_MS + 40_000, message: 'Failed to complete the migration of sessions' }],
  },
  'complete-migration-refused': {
    ...failedHead('verification-missing', 'No full verification of the migration `sessions` has passed.'),
    phase: 'complete-migration',
  },
  'rollback-passed': {
    ...SAMPLE_HEAD,
    phase: 'rollback',
    report: {
      kind: 'rollback',
      steps: [
        { step: 'Stop the sync', outcome: 'stopped at offset 84,112,390' },
        { step: 'Lift the fence at the source', outcome: 'there was none' },
        { step: 'Release the target', outcome: 'the checkpoint was removed, 200,123 keys stay' },
      ],
    },
  },
  'rollback-passed-way-back': {
    ...SAMPLE_HEAD,
    migrationId: 'sessions-reverse',
    route: 'scan',
    phase: 'rollback',
    isWayBack: true,
    report: {
      kind: 'rollback',
      steps: [{ step: 'release target', outcome: 'released; it stays fenced, for everybody now' }],
    },
  },
  'rollback-failed': {
    ...failedHead(
      'target-unreachable',
      'No connection to `master.sessions.abc123.apn2.cache.amazonaws.com:6379`.',
    ),
    phase: 'rollback',
    report: { kind: 'rollback', steps: [{ step: 'Stop the sync', outcome: 'stopped' }] },
  },
  'cleanup-passed': {
    ...SAMPLE_HEAD,
    phase: 'cleanup',
    removed: ['/var/lib/valkey-migrate/migrations/sessions', '/var/lib/valkey-migrate/agents/3f9a1c'],
  },
  'cleanup-failed': {
    ...failedHead('host-state-unwritable', '`/var/lib/valkey-migrate` cannot be written: EROFS.'),
    phase: 'cleanup',
  },
};

/** A live sync that left out expiry times of hash fields, as it was told to. */
function skippingSync(): JobState {
  const state = syncState('live');
  const skipped = [
    { what: 'keys' as const, reason: 'hash-field-ttl', count: 7, sample: ['db0 sessions', 'db1 carts'] },
  ];
  return { ...state, progress: { ...state.progress, skipped } };
}

/** A verification with `total` differences, of which `listed` are listed by name. */
export function verifyReport(total: number, listed = total): VerifyReport {
  const kinds = ['value', 'missing', 'ttl', 'extra'] as const;
  const details = {
    value: 'field `cart` differs: 18 and 24 bytes, first at byte 7',
    missing: 'not at the target',
    ttl: 'expires at 1773480413000 and 1773487613000',
    extra: 'not at the source',
  };
  return {
    kind: 'verify',
    verificationId: 'v-01j9z4',
    migrationId: 'sessions',
    scope: 'full',
    passed: total === 0,
    startedAtMs: START_MS,
    finishedAtMs: START_MS + 8400,
    skipped: [],
    sourceAddress: '10.0.4.17:6379',
    targetAddress: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379',
    keysCompared: 200_123,
    inFlight: 37,
    byDatabase: [
      { db: 0, sourceKeys: 180_123, targetKeys: 180_123, differences: total },
      { db: 3, sourceKeys: 20_000, targetKeys: 20_000, differences: 0 },
    ],
    byType: [
      { type: 'string', keys: 120_000, differences: 0 },
      { type: 'hash', keys: 80_123, differences: total },
    ],
    differences: {
      total,
      byKind: total === 0 ? [] : kinds.map((kind) => ({ kind, count: Math.ceil(total / 4) })),
      listed: Array.from({ length: listed }, (_, index) => {
        const kind = kinds[index % kinds.length] ?? 'value';
        return {
          db: 0,
          key: `sha256:9f86d081884c7d65 (${index})`,
          type: 'hash',
          kind,
          detail: details[kind],
        };
      }),
      cut: total - listed,
    },
    maxDifferences: 0,
    ...(total === 0 ? {} : { list: listFile(total) }),
  };
}

function listFile(keys: number) {
  return {
    path: '/var/lib/valkey-migrate/migrations/sessions/differences-v-01j9z4.ndjson',
    keys,
    bytes: keys * 180,
  };
}

/** Checks that passed, and the given ones. */
export function preflightReport(findings: readonly Finding[]): PreflightReport {
  const passed = ['Source reachable', 'Target reachable', 'PSYNC allowed', 'Transit encryption'];
  return {
    kind: 'preflight',
    findings: [
      ...findings,
      ...passed.map((title) => ({
        code: title.toLowerCase().replaceAll(' ', '-'),
        status: 'pass' as const,
        title,
        detail: 'as it should be',
        remedy: '',
      })),
    ],
    route: 'replica',
    verdicts: [
      {
        route: 'native',
        usable: false,
        reasons: ['the source writes RDB version 12, the target loads up to 11'],
      },
      {
        route: 'replica',
        usable: true,
        reasons: ['the source allows PSYNC', 'RDB version 12 is read by the agent'],
      },
    ],
    source: {
      address: '10.0.4.17:6379',
      kind: 'redis',
      version: '7.4.1',
      role: 'master',
      databases: [
        { db: 0, keys: 180_123 },
        { db: 3, keys: 20_000 },
      ],
      usedMemoryBytes: 412_316_860,
      maxMemoryBytes: 0,
      latencyMs: 0.31,
    },
    target: {
      address: 'master.sessions.abc123.apn2.cache.amazonaws.com:6379',
      kind: 'valkey',
      version: '8.2.0',
      role: 'master',
      databases: [],
      usedMemoryBytes: 6_291_456,
      maxMemoryBytes: 3_328_599_654,
      latencyMs: 1.4,
    },
  };
}

function rdbFinding(): Finding {
  return {
    code: 'route-native-rdb-version',
    status: 'fail',
    title: 'RDB version',
    detail:
      'Redis 7.4.1 writes RDB version 12; Valkey 8.2 loads up to 11 and empties itself when it is given a newer one',
    remedy: 'Use `route: replica` or leave `route: auto`.',
  };
}

function memoryFinding(): Finding {
  return {
    code: 'target-memory-too-small',
    status: 'fail',
    title: 'Memory of the target',
    detail: '9.2 GiB at the source, `maxmemory` 3.1 GiB at the target',
    remedy: 'Choose a larger node type for the replication group.',
  };
}

function largeKeyFinding(): Finding {
  return {
    code: 'replica-output-buffer',
    status: 'warn',
    title: 'Replica output buffer',
    detail: '`client-output-buffer-limit replica` is 64 MiB; 90 MiB are written in the time of the copy',
    remedy: 'Raise it at the source: `CONFIG SET client-output-buffer-limit "replica 512mb 256mb 60"`.',
  };
}

/** A sync at a stage, with a course of 41 samples. */
export function syncState(stage: string): JobState {
  const live = stage === 'live';
  return {
    kind: 'sync',
    jobId: 'sync-1',
    status: 'running',
    startedAtMs: START_MS,
    updatedAtMs: START_MS + 40_000,
    progress: {
      stage,
      percent: live ? 100 : 45.2,
      keys: live ? 200_123 : 90_400,
      keysPerSecond: live ? 420 : 12_650,
      bytes: 104_857_600,
      bytesPerSecond: 5_242_880,
      lagBytes: live ? 0 : 1_572_864,
      lagMs: live ? 0 : 740,
      ...(live ? {} : { etaMs: 9000 }),
      bottleneck: 'target',
      notes: ['reconnected to the target once'],
    },
    series: Array.from({ length: 41 }, (_, index) => samplePoint(index)),
    hasReport: false,
  };
}

/** The watch over the replication of ElastiCache, ended because the target has caught up. */
function linkState(): JobState {
  const { progress, ...state } = syncState('live');
  const counted = { ...progress, keys: 0, keysPerSecond: 0, bytesPerSecond: 0, lagBytes: 812, notes: [] };
  return { ...state, kind: 'link', status: 'succeeded', progress: counted, series: [], hasReport: true };
}

function samplePoint(index: number): SeriesPoint {
  const lagBytes = Math.round(2_000_000 * Math.max(0, Math.sin(index / 12)));
  return { atMs: index * 1000, percent: Math.min(100, index * 3.1), lagBytes, keysPerSecond: 12_000 };
}

function cutoverReport(verification: VerifyReport): CutoverReport {
  return {
    kind: 'cutover',
    route: 'replica',
    fencedAtMs: START_MS + 30_000,
    fence: 'min-replicas-to-write 1000000',
    sourceReplid: '8371445ee67b4b1ad8a3f4f1f6ab1d0e4c3a9e02',
    sourceOffset: 84_112_390,
    targetOffset: 84_112_390,
    drainDurationMs: 84,
    proofDurationMs: 1136,
    settleDurationMs: 35,
    writePauseMs: 1255,
    verification,
  };
}

/** The remedy is this file's own, so that a better word in the table of codes changes no golden file. */
function failedHead(code: ErrorCode, message: string): PhaseHead & { error: ErrorRecord } {
  const remedy = 'Change what the message names (here `route: replica`), then run the phase again.';
  return {
    ...SAMPLE_HEAD,
    result: 'failed',
    error: { code, message, remedy, retryable: ERROR_CODES[code].retryable },
  };
}
