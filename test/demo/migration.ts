import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { renderHtmlPage } from '../preview/html.ts';
import { type ActionResult, runAction } from '../runner/run-action.ts';
import { loadDataSet } from '../servers/data-set.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { startServer } from '../servers/start.ts';
import type { GithubStub } from '../simulator/github-stub.ts';
import type { Simulator } from '../simulator/start.ts';
import { startWriters, type WriteAudit, type WriteTarget } from './writers.ts';

/** One migration of the demo. */
export type DemoMigration = {
  /** Also the id of the replication group. */
  readonly name: string;
  readonly route: 'native' | 'replica';
  readonly source: ServerBinary;
  readonly target: ServerBinary;
  readonly keys: number;
};

/** Where the demo shows what happens. */
export type Stage = {
  say(line: string): void;
  /** A line of the action's own log. */
  log(line: string): void;
  /** The job summary of a phase, with the paths under which it was kept. */
  summary(markdown: string, paths: readonly string[]): void;
  /** The gate: a reviewer has read the report and lets the cutover go on, or not. */
  approve(reportPath: string): Promise<boolean>;
};

/** What came of it. */
export type DemoOutcome = WriteAudit & {
  readonly phases: number;
  readonly keysCompared: number;
  readonly writePauseMs: number;
};

/** The environment of the demo's repository; the stub of GitHub says that it has a required reviewer. */
export const ENVIRONMENT = 'production-cutover';

const PHASES = [
  'preflight',
  'backup',
  'start-migration',
  'verify',
  'complete-migration',
  'status',
  'cleanup',
];

/** How long the applications go on writing to their new home before the count. */
const AFTERWARDS_MS = 500;

/**
 * Migrates a source with live writers through every phase of the built action, as a workflow would.
 *
 * @throws Error when a phase fails or the reviewer declines
 */
export async function migrate(
  migration: DemoMigration,
  {
    simulator,
    github,
    stage,
    reportDirectory,
  }: { simulator: Simulator; github: GithubStub; stage: Stage; reportDirectory: string },
): Promise<DemoOutcome> {
  const { name, keys } = migration;
  await using source = await startServer({
    server: migration.source,
    // The default waits five seconds for more replicas before a full copy begins.
    config: { 'repl-diskless-sync-delay': '0', 'protected-mode': 'no' },
  });
  stage.say(
    `Source: ${migration.source.kind} ${migration.source.version} on port ${source.port}; loading ${keys} keys of all types …`,
  );
  await loadDataSet(source.client(), { keys, seed: 7 });
  // The simulator owns the group and the instance: they end with it.
  const group = await simulator.addReplicationGroup({
    replicationGroupId: name,
    server: migration.target,
  });
  stage.say(
    `Target: simulated ElastiCache replication group ${name} on a real ${migration.target.kind} ${migration.target.version}, port ${group.node.port}.`,
  );
  const instance = await simulator.addInstance({
    env: { ...simulator.env, PATH: `${dirname(process.execPath)}:/usr/bin:/bin` },
  });
  await using writers = startWriters(source, name);
  stage.say(
    `Writers: 6 applications write to the source all the time, each write a transaction that is remembered.`,
  );

  const inputs = {
    'replication-group-id': name,
    'instance-id': instance.instanceId,
    'source-endpoint': `127.0.0.1:${source.port}`,
    'state-directory': join(instance.directory, 'valkey-migrate'),
    'straggler-watch-seconds': '2',
    route: migration.route,
    'key-display': 'shown',
    'cutover-environment': ENVIRONMENT,
    'github-token': 'demo',
  };
  const figures = { keysCompared: 0, writePauseMs: 0 };
  for (const [index, phase] of PHASES.entries()) {
    stage.say(`Phase ${index + 1} of ${PHASES.length}: ${phase}`);
    const result = await runAction({
      inputs: { ...inputs, phase },
      env: { ...simulator.env, GITHUB_API_URL: github.url },
      onLine: (line) => stage.log(line),
    });
    const paths = await keepSummary(reportDirectory, { name, index, phase, result });
    stage.summary(result.summary, paths);
    if (result.exitCode !== 0)
      throw new Error(
        `${name}: ${phase} failed: ${result.outputs['error-code']}\n${result.log}${result.stderr}`,
      );
    if (phase === 'verify' && !(await stage.approve(paths[0] ?? ''))) {
      throw new Error(`${name}: the reviewer declined; nothing was cut over.`);
    }
    if (phase === 'complete-migration') {
      figures.keysCompared = Number(result.outputs['keys-compared']);
      figures.writePauseMs = Number(result.outputs['write-pause-ms']);
      const moved = parseEndpoint(result.outputs['primary-endpoint']);
      writers.moveTo(moved);
      stage.say(`The applications are pointed at ${moved.host}:${moved.port} and write on.`);
    }
  }
  await new Promise((resolve) => setTimeout(resolve, AFTERWARDS_MS));
  await writers.stop();
  return { ...(await writers.audit(group.node)), ...figures, phases: PHASES.length };
}

async function keepSummary(
  directory: string,
  { name, index, phase, result }: { name: string; index: number; phase: string; result: ActionResult },
): Promise<string[]> {
  const base = join(directory, name, `${index + 1}-${phase}`);
  await mkdir(dirname(base), { recursive: true });
  await writeFile(`${base}.md`, result.summary);
  await writeFile(`${base}.html`, renderHtmlPage({ title: `${phase} of ${name}`, markdown: result.summary }));
  return [`${base}.html`, `${base}.md`];
}

function parseEndpoint(text: string | undefined): WriteTarget {
  const [host, port] = (text ?? '').split(':');
  if (host === undefined || port === undefined)
    throw new Error(`complete-migration published no endpoint: ${text}`);
  return { host, port: Number(port) };
}
