import { listServers } from '../servers/catalogue.ts';
import { identifyServer, type ServerBinary } from '../servers/server-binary.ts';
import { migratePair } from './migrate-pair.ts';

/** `programs`: paths of further servers, besides those that the tests know; `only`: as `redis 7.4` or `valkey`. */
export type MatrixOptions = { readonly programs: readonly string[]; readonly only: string };

const SIZE = { keys: 2_000, rounds: 15 };
const DIFFERENCES_SHOWN = 20;

/** Migrates from every server to every Valkey of 8 and later; throws when one pair is not equal. */
export async function runMatrix(
  { programs, only }: MatrixOptions,
  print: (line: string) => void,
): Promise<void> {
  const named = await Promise.all(programs.map((program) => identifyServer([program])));
  const servers = distinct([...named, ...(await listServers())]);
  const targets = servers.filter(({ kind, version }) => kind === 'valkey' && !version.startsWith('7.'));
  const sources = servers.filter((server) => nameOf(server).startsWith(only));
  let failures = 0;
  for (const source of sources) {
    for (const target of targets) {
      const findings = await tryPair(source, target);
      failures += findings.length > 0 ? 1 : 0;
      print(`${nameOf(source)} to ${nameOf(target)}: ${findings.length === 0 ? 'equal' : 'NOT EQUAL'}`);
      for (const finding of findings.slice(0, DIFFERENCES_SHOWN)) print(`  ${finding.slice(0, 500)}`);
    }
  }
  if (failures > 0) throw new Error(`${failures} of ${sources.length * targets.length} pairs are not equal`);
}

async function tryPair(source: ServerBinary, target: ServerBinary): Promise<readonly string[]> {
  try {
    const { differences, digests, written } = await migratePair({ source, target }, SIZE);
    const isDigestEqual = digests[0] === digests[1];
    return [
      ...differences,
      ...written.missed.map((name) => `${name} was never called with success`),
      ...(isDigestEqual ? [] : [`DEBUG DIGEST: ${digests.join(' / ')}`]),
    ];
  } catch (error) {
    return [String(error)];
  }
}

function distinct(servers: readonly ServerBinary[]): ServerBinary[] {
  const byName = new Map(servers.map((server) => [nameOf(server), server]));
  return [...byName.values()].sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
}

function nameOf({ kind, version }: ServerBinary): string {
  return `${kind} ${version}`;
}
