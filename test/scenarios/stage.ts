import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Redis } from 'ioredis';
import { type ActionResult, type ActionRun, runAction } from '../runner/run-action.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../servers/start.ts';
import type { TlsFiles } from '../servers/tls.ts';
import type { SimulatedInstance } from '../simulator/instance.ts';
import type { ReplicationGroupOptions, SimulatedReplicationGroup } from '../simulator/replication-group.ts';
import type { Caller } from '../simulator/service.ts';
import { type Simulator, startSimulator } from '../simulator/start.ts';
import type { Timing } from '../simulator/timing.ts';

/** What a scenario changes of the usual stage. */
export type StageOptions = {
  readonly source?: ServerBinary;
  readonly sourceConfig?: Readonly<Record<string, string | readonly string[]>>;
  /** Opens a TLS port of the source, which then is `source-endpoint`. */
  readonly sourceTls?: TlsFiles;
  readonly target?: ServerBinary;
  /** A host that has never run the agent: the first phase ships it. */
  readonly isNewHost?: boolean;
  /** What the policies of the host's role say; without it everything is allowed. */
  readonly hostAllows?: Caller['allows'];
  readonly timing?: Partial<Timing>;
  readonly group?: Partial<Omit<ReplicationGroupOptions, 'replicationGroupId' | 'server'>>;
};

/** A real source, a replication group on a real Valkey, an instance, and the built action before them. */
export type Stage = AsyncDisposable & {
  readonly simulator: Simulator;
  readonly source: RunningServer;
  readonly group: SimulatedReplicationGroup;
  readonly instance: SimulatedInstance;
  readonly stateDirectory: string;
  /** Runs a phase with the usual inputs; an input of undefined is left out. */
  run(phase: string, changes?: PhaseChanges): Promise<ActionResult & { report: unknown }>;
};

/** What one run of a phase has of its own. */
export type PhaseChanges = {
  readonly inputs?: Readonly<Record<string, string | undefined>>;
} & Partial<Omit<ActionRun, 'inputs'>>;

/** The role of the instance profile: what the agent calls, it calls as this one. */
export const HOST_ROLE = 'redis-host';

/** PATH of an instance that has the Node of these tests. */
export const INSTANCE_PATH = `${dirname(process.execPath)}:/usr/bin:/bin`;

const AGENT = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'index.js');

/** Sets the stage: everything on it ends with it. */
export async function openStage(options: StageOptions = {}): Promise<Stage> {
  await using opening = new AsyncDisposableStack();
  const reports = await mkdtemp(join(tmpdir(), 'reports-'));
  opening.defer(() => rm(reports, { recursive: true, force: true }));
  const simulator = opening.use(
    await startSimulator(options.timing === undefined ? {} : { timing: options.timing }),
  );
  const source = opening.use(
    await startServer({
      server: options.source ?? (await sourceServer()),
      ...(options.sourceTls === undefined ? {} : { tls: options.sourceTls }),
      config: { 'repl-diskless-sync-delay': '0', 'protected-mode': 'no', ...options.sourceConfig },
    }),
  );
  const group = await simulator.addReplicationGroup({
    replicationGroupId: 'sessions',
    server: options.target ?? (await targetServer()),
    ...options.group,
  });
  const instance = await simulator.addInstance({
    env: { ...simulator.addRole(HOST_ROLE, options.hostAllows), PATH: INSTANCE_PATH },
  });
  const stateDirectory = join(instance.directory, 'valkey-migrate');
  if (options.isNewHost !== true) await putAgent(stateDirectory);
  const usual = {
    'replication-group-id': 'sessions',
    'instance-id': instance.instanceId,
    'source-endpoint': `127.0.0.1:${source.tlsPort ?? source.port}`,
    'state-directory': stateDirectory,
    // SOURCE_SERVER may name one from which `auto` would choose the native route.
    route: 'replica',
    'allow-unprotected-environment': 'true',
    'straggler-watch-seconds': '0',
    'report-directory': reports,
  };
  const run: Stage['run'] = async (phase, { inputs, env, ...changes } = {}) => {
    const merged = Object.entries({ phase, ...usual, ...inputs });
    const given = merged.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
    const result = await runAction({
      ...changes,
      env: { ...simulator.env, ...env },
      inputs: Object.fromEntries(given),
    });
    return { ...result, report: await readReport(result) };
  };
  const owned = opening.move();
  const dispose = () => owned.disposeAsync();
  return { simulator, source, group, instance, stateDirectory, run, [Symbol.asyncDispose]: dispose };
}

/** Puts the built agent where an earlier phase would have shipped it, which takes half a dozen commands. */
async function putAgent(stateDirectory: string): Promise<void> {
  const bundle = await readFile(AGENT);
  const sha256 = createHash('sha256').update(bundle).digest('hex');
  const directory = join(stateDirectory, 'agent', sha256);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'index.mjs'), bundle);
}

async function readReport(result: ActionResult): Promise<unknown> {
  const path = result.outputs['report-path'];
  return path === undefined ? undefined : JSON.parse(await readFile(path, 'utf8'));
}

/**
 * Everything that a server holds, as one digest: all keys of all databases with type, value and expiry, but for those
 * that are left out.
 */
export async function digestData(
  server: RunningServer,
  isLeftOut: (key: Buffer) => boolean = () => false,
): Promise<string> {
  const digest = createHash('sha256');
  for (const db of await databasesOf(server.client())) {
    const client = server.client(db);
    const keys = (await allKeys(client)).filter((key) => !isLeftOut(key));
    for (const key of keys.sort(Buffer.compare)) {
      const [[, payload] = [], [, expiry] = []] = (await client.multi().dump(key).pttl(key).exec()) ?? [];
      digest.update(`${db} ${key.toString('hex')} ${JSON.stringify(payload)} ${Number(expiry) >= 0}\n`);
    }
  }
  return digest.digest('hex');
}

async function databasesOf(client: Redis): Promise<number[]> {
  return [...(await client.info('keyspace')).matchAll(/^db(\d+):/gm)].map(([, db]) => Number(db));
}

async function allKeys(client: Redis): Promise<Buffer[]> {
  const keys = new Map<string, Buffer>();
  let cursor = '0';
  do {
    const [next, found] = await client.scanBuffer(cursor, 'COUNT', 1000);
    for (const key of found) keys.set(key.toString('latin1'), key);
    cursor = String(next);
  } while (cursor !== '0');
  return [...keys.values()];
}

/** Every setting of a server, for "exactly as found". */
export async function readSettings(server: RunningServer): Promise<string> {
  return JSON.stringify(await server.client().call('CONFIG', 'GET', '*'));
}

/** The calls that change something in AWS; SendCommand only looks or ships, as the scripts say. */
export function changingCalls(simulator: Simulator): string[] {
  const changing =
    /^(TestMigration|StartMigration|CompleteMigration|CreateSnapshot|DeleteSnapshot|Modify|AddTags)/;
  return simulator.calls
    .filter(({ operation }) => changing.test(operation))
    .map(({ operation }) => operation);
}
