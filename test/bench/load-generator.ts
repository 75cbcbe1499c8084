import { existsSync } from 'node:fs';
import path from 'node:path';
import { listServers } from '../servers/catalogue.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import type { RunningServer } from '../servers/start.ts';
import type { BenchOptions } from './options.ts';
import { startTool } from './tool-process.ts';

/** What is written to the source. */
export type Load = {
  readonly commands: BenchOptions['liveCommands'];
  /** Of each command. */
  readonly count: number;
  /** How many keys they are about, at random. */
  readonly keys: number;
};

/** What the load generator achieved. */
export type LoadResult = {
  readonly durationMs: number;
  /** By command, as the generator counted. */
  readonly opsPerSecond: Readonly<Record<string, number>>;
};

const CONNECTIONS = 50;
const PIPELINE = 50;
const VALUE_BYTES = 64;

/** Writes to a server as fast as it can take it: `redis-benchmark -P 50`. */
export async function runLoad(
  server: RunningServer,
  load: Load,
  { directory }: { readonly directory: string },
): Promise<LoadResult> {
  const options = {
    '-h': server.host,
    '-p': server.port,
    '-c': CONNECTIONS,
    '-P': PIPELINE,
    '-n': load.count,
    '-r': load.keys,
    '-d': VALUE_BYTES,
    '-t': load.commands.join(','),
  };
  const argv = Object.entries(options).flatMap(([name, value]) => [name, String(value)]);
  const startedAtMs = performance.now();
  await using tool = await startTool([...(await findLoadGenerator(server.server)), ...argv, '--csv'], {
    directory,
  });
  await tool.ended;
  return { durationMs: performance.now() - startedAtMs, opsPerSecond: parseRates(tool.output()) };
}

/** The argv of redis-benchmark: the one beside the server, else any that is at hand. */
async function findLoadGenerator(server: ServerBinary): Promise<readonly string[]> {
  for (const candidate of [server, ...(await listServers())]) {
    const program = candidate.command.at(-1) ?? '';
    const generator = path.join(path.dirname(program), `${candidate.kind}-benchmark`);
    if (existsSync(generator)) return [...candidate.command.slice(0, -1), generator];
  }
  throw new Error(
    'There is no redis-benchmark beside any server at hand. Remove .cache/servers and run: npm run servers',
  );
}

/** Lines of CSV: `"SET","581395.31",...`, a heading before them in newer versions. */
function parseRates(csv: string): Readonly<Record<string, number>> {
  const lines = [...csv.matchAll(/^"([A-Z]+)[^"]*","([\d.]+)"/gm)];
  if (lines.length === 0) throw new Error(`redis-benchmark printed no rate: ${csv.slice(-500)}`);
  return Object.fromEntries(lines.map(([, name = '', rate]) => [name.toLowerCase(), Number(rate)]));
}
