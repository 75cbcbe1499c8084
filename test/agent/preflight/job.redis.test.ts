import { describe, expect, it } from 'vitest';
import { runPreflight } from '../../../src/agent/preflight/job.ts';
import { rdbVersionOf } from '../../../src/agent/preflight/rdb-version.ts';
import { encodeClaim } from '../../../src/agent/redis/checkpoint.ts';
import { RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import type { JobRequestOf, TargetFacts } from '../../../src/contract/jobs.ts';
import type { PreflightReport } from '../../../src/contract/reports.ts';
import { ERROR_CODES } from '../../../src/core/error-codes.ts';
import {
  findServer,
  type RunningServer,
  type StartOptions,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { createTlsFiles } from '../../servers/tls.ts';
import { endpointOf, jobContext, readSettings } from '../cutover/job-context.ts';

type Config = NonNullable<StartOptions['config']>;
type Request = JobRequestOf<'preflight'>;
type Pair = { readonly source: RunningServer; readonly target: RunningServer };

const redis70 = await findServer({ kind: 'redis', version: '7.0' });
const given = await sourceServer();
/** The source of the tests when it writes RDB 12, else one that does. */
const rdb12 = rdbVersionOf(given) === 12 ? given : await findServer({ kind: 'redis', version: '8.0' });
const SUITABLE: TargetFacts = {
  engine: 'valkey',
  engineVersion: '8.1',
  transitEncryption: false,
  multiAz: true,
  clusterMode: false,
  status: 'available',
  databases: 16,
};

async function startPair(
  options: { server?: StartOptions['server']; source?: Config; target?: Config } = {},
): Promise<Pair & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const server = options.server ?? (await sourceServer());
  const source = stack.use(await startServer({ server, config: options.source ?? {} }));
  const target = stack.use(await startServer({ server: await targetServer(), config: options.target ?? {} }));
  return { source, target, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function examine({ source, target }: Pair, change: Partial<Request> = {}): Promise<PreflightReport> {
  const request: Request = {
    kind: 'preflight',
    source: endpointOf(source),
    target: endpointOf(target),
    route: 'auto',
    targetFacts: SUITABLE,
    nativeSourceHost: '127.0.0.1',
    allowNativeRdbVersion: false,
    canaryWrite: true,
    flushTarget: false,
    ...change,
  };
  return runPreflight(request, jobContext({ directory: source.directory }));
}

const failuresOf = ({ findings }: PreflightReport) =>
  findings.filter(({ status }) => status === 'fail').map(({ code }) => code);

const findingOf = ({ findings }: PreflightReport, code: string) => findings.find((f) => f.code === code);

const reasonsAgainst = ({ verdicts }: PreflightReport, route: 'native' | 'replica') =>
  verdicts.find((verdict) => verdict.route === route && !verdict.usable)?.reasons.join(' ') ?? '';

describe('preflight of a pair that can be migrated', () => {
  it('chooses replica for a source with RDB 12, and says what becomes of a target that replicates natively', async () => {
    await using pair = await startPair({ server: rdb12 });
    await pair.source.client(2).set('a', '1', 'EX', 1000);
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual([]);
    expect(report.route).toBe('replica');
    expect(reasonsAgainst(report, 'native')).toMatch(
      /RDB version 12, which valkey .* (wiped by|never begins)/,
    );
    expect(report.source).toMatchObject({ role: 'master', databases: [{ db: 2, keys: 1 }] });
    expect(report.source?.latencyMs).toBeGreaterThan(0);
    expect(report.target?.version).toBe(pair.target.server.version);
  });

  it('chooses native for Redis 7.0, and leaves no key on either side', async () => {
    await using pair = await startPair({ server: redis70 });
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual([]);
    expect(report.route).toBe('native');
    expect(findingOf(report, 'canary')?.status).toBe('pass');
    expect(await pair.target.client().dbsize()).toBe(0);
    expect(await pair.source.client().dbsize()).toBe(0);
  });

  it('starts no full sync at the source to find out whether PSYNC is allowed', async () => {
    await using pair = await startPair();
    await examine(pair);
    expect(findingOf(await examine(pair), 'replication-allowed')).toBeDefined();
    const stats = await pair.source.client().info('stats');
    expect(stats).toContain('sync_full:0');
    expect(stats).toContain('total_forks:0');
  });

  it('gives every failing finding a code of the table, and every finding but a pass a remedy', async () => {
    await using pair = await startPair({ server: rdb12, source: { databases: '20' } });
    await pair.source.client(18).set('a', '1');
    await pair.target.client().set('foreign', '1');
    const { findings } = await examine(pair, { route: 'native' });
    expect(findings.filter(({ status }) => status === 'fail').length).toBeGreaterThan(2);
    for (const { code, status, remedy } of findings) {
      if (status === 'fail') expect(Object.keys(ERROR_CODES)).toContain(code);
      if (status !== 'pass') expect(remedy).not.toBe('');
    }
  });
});

describe('preflight of the native route', () => {
  it('is refused for RDB 12, with the reason, and leaves the data of the target', async () => {
    await using pair = await startPair({ server: rdb12 });
    await pair.target.client().set('kept', '1');
    const report = await examine(pair, { route: 'native', flushTarget: true });
    expect(report.route).toBeUndefined();
    expect(failuresOf(report)).toEqual(['route-native-rdb-version']);
    expect(findingOf(report, 'route-native-rdb-version')?.detail).toContain('RDB version 12');
    expect(await pair.target.client().get('kept')).toBe('1');
  });

  it('is allowed with a warning when the input says so', async () => {
    await using pair = await startPair({ server: rdb12 });
    const report = await examine(pair, { route: 'native', allowNativeRdbVersion: true });
    expect(report.route).toBe('native');
    expect(findingOf(report, 'native-rdb-version-allowed')).toMatchObject({
      status: 'warn',
      detail: expect.stringContaining('a refusal wipes the target'),
    });
  });

  const cases: [string, string, Partial<Request>][] = [
    ['replication-group-unsuitable', 'Multi-AZ is off', { targetFacts: { ...SUITABLE, multiAz: false } }],
    ['route-native-tls', 'the target encrypts', { targetFacts: { ...SUITABLE, transitEncryption: true } }],
    [
      'replication-group-not-available',
      'the group is modifying',
      { targetFacts: { ...SUITABLE, status: 'modifying' } },
    ],
    ['replication-group-unsuitable', 'the target is no replication group', { targetFacts: undefined }],
    ['source-bind-loopback', 'the source listens elsewhere', { nativeSourceHost: '10.0.0.5' }],
  ];
  it.each(cases)('is refused as %s when %s, and replica then serves', async (code, _, change) => {
    await using pair = await startPair({ server: redis70 });
    expect(failuresOf(await examine(pair, { route: 'native', ...change }))).toEqual([code]);
    const auto = await examine(pair, change);
    expect(failuresOf(auto)).toEqual([]);
    expect(auto.route).toBe('replica');
  });

  it('is refused in protected mode, however the source is bound', async () => {
    await using pair = await startPair({ server: redis70, source: { bind: '*', 'protected-mode': 'yes' } });
    const report = await examine(pair, { route: 'native', nativeSourceHost: '10.0.0.5' });
    expect(failuresOf(report)).toEqual(['source-bind-loopback']);
    expect(findingOf(report, 'source-bind-loopback')?.detail).toContain('protected-mode yes');
  });

  it('is ruled out by a password, with which replica works', async () => {
    await using pair = await startPair({ server: redis70, source: { requirepass: 'pw' } });
    const source = { ...endpointOf(pair.source), password: { from: 'env' as const, name: 'pw' } };
    const report = await examine(pair, { source });
    expect(report.route).toBe('replica');
    expect(reasonsAgainst(report, 'native')).toContain('AUTH');
    expect(failuresOf(await examine(pair, { source, route: 'native' }))).toEqual(['route-native-auth']);
  });

  it('is ruled out by TLS at the source, with which replica works', async () => {
    await using files = await createTlsFiles();
    await using source = await startServer({ server: redis70, tls: files });
    await using target = await startServer({ server: await targetServer() });
    const endpoint = { ...endpointOf(source), port: source.tlsPort ?? 0, tls: true, caFile: files.ca };
    const report = await examine({ source, target }, { source: endpoint });
    expect(report.route).toBe('replica');
    expect(reasonsAgainst(report, 'native')).toContain('TLS at the source');
  });
});

describe('preflight of the source', () => {
  it.each([
    ['PSYNC is denied', { user: ['default on nopass ~* &* +@all -psync'] }, "'psync'"],
    ['REPLCONF is denied', { user: ['default on nopass ~* &* +@all -replconf'] }, "'replconf'"],
    ['PSYNC is renamed away', { 'rename-command': ['PSYNC ""'] }, 'unknown command'],
  ])('fails as route-replica-denied when %s', async (_, source, detail) => {
    await using pair = await startPair({ source });
    const report = await examine(pair, { route: 'replica' });
    expect(failuresOf(report)).toEqual(['route-replica-denied']);
    expect(findingOf(report, 'route-replica-denied')?.detail).toContain(detail);
  });

  it('warns when CONFIG is denied, and says what could not be read', async () => {
    await using pair = await startPair({ source: { user: ['default on nopass ~* &* +@all -config'] } });
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual([]);
    for (const code of ['fence-denied', 'listening-unknown', 'output-buffer-unknown']) {
      expect(findingOf(report, code)?.status).toBe('warn');
    }
  });

  it('fails in cluster mode as long as slots have no primary', async () => {
    await using source = await startServer({ server: await sourceServer(), cluster: true });
    await using target = await startServer({ server: await targetServer() });
    expect(failuresOf(await examine({ source, target }))).toContain('source-not-ready');
  });

  it('warns when it is itself a replica', async () => {
    await using master = await startServer({ server: await sourceServer() });
    await using pair = await startPair({ source: { replicaof: `127.0.0.1 ${master.port}` } });
    expect(findingOf(await examine(pair), 'source-is-replica')).toMatchObject({
      status: 'warn',
      remedy: expect.stringContaining(`:${master.port}`),
    });
  });

  it('advises a backlog and an output buffer that fit the write rate', async () => {
    const source = { 'client-output-buffer-limit': 'replica 1024 1024 1', 'repl-diskless-sync-delay': '0' };
    await using pair = await startPair({ source });
    // A replica of its own makes the source count its writes.
    await using replica = await startServer({ server: await sourceServer() });
    await replica.client().replicaof('127.0.0.1', pair.source.port);
    const writer = pair.source.client();
    const written = new AbortController();
    const writing = (async () => {
      while (!written.signal.aborted) await writer.set('k', 'x'.repeat(100_000));
    })();
    try {
      while (!(await writer.info('replication')).includes('repl_backlog_active:1')) await writer.ping();
      const report = await examine(pair);
      expect(findingOf(report, 'output-buffer-small')?.remedy).toMatch(
        /^Give `tune-source: true`, or CONFIG SET client-output-buffer-limit "replica \d+ \d+ 0"$/,
      );
      expect(findingOf(report, 'backlog-small')?.remedy).toMatch(
        // At such a rate it may be more than the memory has room for.
        /^(Give `tune-source: true`, or )?CONFIG SET repl-backlog-size \d+$/,
      );
      const tuned = await examine(pair, { tuneSource: true });
      expect(findingOf(tuned, 'output-buffer')?.detail).toContain('tune-source sets 256 MiB hard');
    } finally {
      written.abort();
      await writing;
    }
  });
});

describe('preflight of the settings of the source', () => {
  it('says what tune-source would set and gain, and sets nothing', async () => {
    await using pair = await startPair();
    const before = await readSettings(pair.source);
    const without = findingOf(await examine(pair), 'source-tuning');
    expect(without).toMatchObject({ status: 'pass' });
    expect(without?.detail).toMatch(
      /^With tune-source the sync would set: rdbcompression from "yes" to "no" \(/,
    );
    expect(without?.detail).toMatch(
      /repl-diskless-sync-delay from "5" to "0".* A copy may take .*, and with it /,
    );
    const wanted = findingOf(await examine(pair, { tuneSource: true }), 'source-tuning');
    expect(wanted?.detail).toMatch(
      /^The sync sets, and restores afterwards: .*client-output-buffer-limit from "slave /,
    );
    const limited = await examine(pair, { tuneSource: true, sourceBytesPerSecondMax: 1_000_000 });
    expect(findingOf(limited, 'source-tuning')?.detail).toContain(
      'rdbcompression stays: the copy is limited',
    );
    expect(await readSettings(pair.source)).toEqual(before);
  });

  it('warns that tune-source has no effect where CONFIG is denied, and only where it is wanted', async () => {
    const user = ['default on nopass ~* &* +@all', 'mover on >hard ~* &* +@all -config +config|get'];
    await using pair = await startPair({ source: { user } });
    const mover = {
      source: {
        ...endpointOf(pair.source),
        username: 'mover',
        password: { from: 'env' as const, name: 'hard' },
      },
    };
    const report = await examine(pair, { ...mover, tuneSource: true });
    expect(findingOf(report, 'source-tuning-denied')).toMatchObject({ status: 'warn' });
    expect(findingOf(await examine(pair, mover), 'source-tuning')).toMatchObject({ status: 'pass' });
    expect(findingOf(report, 'lag-canaries')).toMatchObject({ status: 'pass' });
    await pair.source.client().call('ACL', 'SETUSER', 'mover', '-publish');
    expect(findingOf(await examine(pair, mover), 'lag-canaries-denied')).toMatchObject({ status: 'warn' });
  });
});

describe('preflight of data that not every target holds', () => {
  it('fails for hash fields that expire on a Valkey 8, and passes them to a Valkey 9', async () => {
    const redis8 = await findServer({ kind: 'redis', version: '8.0' });
    await using source = await startServer({ server: redis8 });
    await source.client().hset('h', 'f', 'v');
    await source.client().call('HEXPIRE', 'h', '1000', 'FIELDS', '1', 'f');
    const valkeys = await Promise.all(['8', '9'].map((version) => findServer({ kind: 'valkey', version })));
    const failures: string[][] = [];
    for (const server of valkeys) {
      await using target = await startServer({ server });
      failures.push(failuresOf(await examine({ source, target })));
    }
    expect(failures).toEqual([['source-data-unsupported'], []]);
  });

  it('only warns of such hash fields when their values are enough', async () => {
    const redis8 = await findServer({ kind: 'redis', version: '8.0' });
    await using source = await startServer({ server: redis8 });
    await using target = await startServer({ server: await findServer({ kind: 'valkey', version: '8' }) });
    await source.client().hset('h', 'f', 'v');
    await source.client().call('HEXPIRE', 'h', '1000', 'FIELDS', '1', 'f');
    const report = await examine({ source, target }, { hashFieldTtl: 'keep-values' });
    expect(failuresOf(report)).toEqual([]);
    expect(report.route).toBe('replica');
    expect(findingOf(report, 'hash-field-expiry-dropped')).toMatchObject({
      status: 'warn',
      detail: expect.stringContaining('1 hashes'),
    });
  });

  it('warns of keys of a module, which it names by their type, and rules the native route out', async () => {
    await using pair = await startPair({ server: await findServer({ kind: 'redis', version: '8.0' }) });
    expect(failuresOf(await examine(pair))).toEqual([]);
    await pair.source.client(1).call('VADD', 'vectors', 'VALUES', '2', '1', '0', 'element');
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual([]);
    expect(report.route).toBe('replica');
    expect(findingOf(report, 'modules-skipped')).toMatchObject({
      status: 'warn',
      detail: expect.stringContaining('1 of vectorset'),
      remedy: expect.stringContaining('`allow-skipped`'),
    });
    expect(failuresOf(await examine(pair, { route: 'native' }))).toContain('source-modules-unsupported');
  });
});

describe('preflight of the target', () => {
  it('fails when it holds keys that nobody claims, unless they are to be flushed', async () => {
    await using pair = await startPair();
    await pair.target.client(5).set('foreign', '1');
    expect(failuresOf(await examine(pair))).toEqual(['target-not-empty']);
    const flushed = await examine(pair, { flushTarget: true });
    expect(failuresOf(flushed)).toEqual([]);
    expect(findingOf(flushed, 'target-will-be-flushed')?.status).toBe('warn');
  });

  const own = {
    migrationId: 'sessions',
    repository: 'example/shop',
    hostId: 'host-1',
    state: 'live' as const,
  };
  it('passes when its keys are those of this migration', async () => {
    await using pair = await startPair();
    await pair.target.client().set(RESERVED_KEY, encodeClaim(own));
    await pair.target.client().set('copied', '1');
    expect(failuresOf(await examine(pair))).toEqual([]);
  });

  it.each([{ migrationId: 'carts' }, { repository: 'example/other' }, { hostId: 'host-2' }])(
    'fails when another migration holds it, even to be flushed: %j',
    async (other) => {
      await using pair = await startPair();
      await pair.target.client().set(RESERVED_KEY, encodeClaim({ ...own, ...other }));
      expect(failuresOf(await examine(pair, { flushTarget: true }))).toEqual(['migration-conflict']);
    },
  );

  it('fails when its claim cannot be read', async () => {
    await using pair = await startPair();
    await pair.target.client().set(RESERVED_KEY, 'something else');
    expect(failuresOf(await examine(pair))).toEqual(['migration-conflict']);
  });

  it('fails when it is a replica', async () => {
    await using master = await startServer({ server: await targetServer() });
    await using pair = await startPair({ target: { replicaof: `127.0.0.1 ${master.port}` } });
    expect(failuresOf(await examine(pair))).toEqual(['target-read-only']);
  });

  it('fails when the canary may not be written, which names the command', async () => {
    await using pair = await startPair({ target: { user: ['default on nopass ~* &* +@all -restore -acl'] } });
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual(['target-permission-denied']);
    expect(findingOf(report, 'target-permission-denied')?.detail).toContain('restore');
  });

  it('fails by ACL DRYRUN where no canary is allowed', async () => {
    await using pair = await startPair({ target: { user: ['default on nopass ~* &* +@all -xgroup'] } });
    const report = await examine(pair, { canaryWrite: false, route: 'replica' });
    expect(failuresOf(report)).toEqual(['target-permission-denied']);
    expect(findingOf(report, 'target-permission-denied')?.detail).toContain('XGROUP');
  });

  it('fails when the data does not fit into its memory', async () => {
    await using pair = await startPair({ target: { maxmemory: '3mb' } });
    await pair.source.client().set('big', Buffer.alloc(8 * 1024 * 1024));
    expect(failuresOf(await examine(pair, { canaryWrite: false }))).toEqual(['target-memory-too-small']);
  });

  it('fails when it lacks a database of the source, by its facts or by trying', async () => {
    await using pair = await startPair({ source: { databases: '20' } });
    await pair.source.client(18).set('a', '1');
    expect(failuresOf(await examine(pair))).toEqual(['target-databases-too-few']);
    const tried = await examine(pair, { targetFacts: undefined });
    expect(failuresOf(tried)).toEqual(['target-databases-too-few']);
    expect(findingOf(tried, 'target-databases-too-few')?.detail).toContain('refused SELECT 18');
  });

  it('fails when it is the source', async () => {
    await using source = await startServer({ server: await sourceServer() });
    expect(failuresOf(await examine({ source, target: source }))).toContain('input-contradictory');
  });
});

describe('preflight of a side that cannot be examined', () => {
  it('fails with the code of the connection, and still examines the other side', async () => {
    await using pair = await startPair();
    const port = pair.source.port;
    await pair.source.stop();
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual(['source-unreachable']);
    expect(findingOf(report, 'source-unreachable')?.detail).toContain(`127.0.0.1:${port}`);
    expect(report.route).toBeUndefined();
    expect(report.source).toBeUndefined();
    expect(report.target?.role).toBe('master');
  });

  it('names a missing and a wrong password', async () => {
    await using pair = await startPair({ target: { requirepass: 'right' } });
    expect(failuresOf(await examine(pair))).toEqual(['target-auth-failed']);
    const target = { ...endpointOf(pair.target), password: { from: 'env' as const, name: 'wrong' } };
    expect(failuresOf(await examine(pair, { target }))).toEqual(['target-auth-failed']);
  });

  it('names both sides when neither answers', async () => {
    await using pair = await startPair();
    await pair.source.stop();
    await pair.target.stop();
    expect(failuresOf(await examine(pair))).toEqual(['source-unreachable', 'target-unreachable']);
  });
});
