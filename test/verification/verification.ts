import { listServers } from '../servers/catalogue.ts';
import {
  chooseServer,
  identifyServer,
  type ServerBinary,
  type WantedServer,
} from '../servers/server-binary.ts';
import { verifyMoving } from './moving-pair.ts';
import { findSeeds } from './seeded-pair.ts';

/** `programs`: paths of further servers; `only`: how the source of a pair begins, as `redis 7.0`. */
export type VerificationProof = {
  readonly programs: readonly string[];
  readonly only: string;
  /** How often an equal pair is verified under writes, over all pairs. */
  readonly verifications: number;
};

const PAIRS: readonly (readonly [WantedServer, WantedServer])[] = [
  [
    { kind: 'redis', version: '6.2' },
    { kind: 'valkey', version: '8.1' },
  ],
  [
    { kind: 'redis', version: '7.0' },
    { kind: 'valkey', version: '8.0' },
  ],
  [
    { kind: 'redis', version: '7.4' },
    { kind: 'valkey', version: '8.1' },
  ],
  [
    { kind: 'redis', version: '8.0' },
    { kind: 'valkey', version: '9.1' },
  ],
  [
    { kind: 'valkey', version: '8.1' },
    { kind: 'valkey', version: '9.1' },
  ],
];

/** Shows on every pair at hand that all planted differences are found and nothing else, whatever moves beside them. */
export async function proveVerification(
  { programs, only, verifications }: VerificationProof,
  print: (line: string) => void,
): Promise<void> {
  const named = await Promise.all(programs.map((program) => identifyServer([program])));
  const servers = [...named, ...(await listServers())];
  const found = PAIRS.map(([source, target]) => ({
    name: `${nameOf(source)} to ${nameOf(target)}`,
    source: chooseServer(servers, source),
    target: chooseServer(servers, target),
  })).filter(({ name }) => name.startsWith(only));
  const failures: string[] = [];
  for (const { name, source, target } of found) {
    if (source === undefined || target === undefined) {
      print(`${name}: not at hand`);
      continue;
    }
    const lines = await provePair(
      { source, target },
      { share: Math.ceil(verifications / found.length), print, name },
    );
    failures.push(...lines.map((line) => `${name}: ${line}`));
  }
  for (const line of failures) print(line);
  if (failures.length > 0) throw new Error(`${failures.length} findings are wrong`);
}

async function provePair(
  pair: { readonly source: ServerBinary; readonly target: ServerBinary },
  {
    share,
    print,
    name,
  }: { readonly share: number; readonly print: (line: string) => void; readonly name: string },
): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (const carrier of ['nothing', 'sync'] as const) {
    const { kinds, expected, found } = await findSeeds(pair, carrier);
    const lines = mismatches(expected, found);
    wrong.push(...lines);
    const beside = carrier === 'sync' ? 'carried by a sync, beside writers' : 'written to both sides';
    print(`${name}: ${kinds} kinds of difference, ${beside}: ${lines.length} findings wrong`);
  }
  const { falseAlarms, lagsBytes, planted, found } = await verifyMoving(pair, { verifications: share });
  wrong.push(...falseAlarms, ...mismatches(planted, found));
  const lag = Math.max(...lagsBytes);
  print(
    `${name}: ${share} verifications under writes, up to ${lag} bytes behind: ${falseAlarms.length} false alarms`,
  );
  return wrong;
}

function mismatches(expected: readonly string[], found: readonly string[]): string[] {
  return [
    ...expected.filter((line) => !found.includes(line)).map((line) => `not found: ${line}`),
    ...found.filter((line) => !expected.includes(line)).map((line) => `found wrongly: ${line}`),
  ];
}

function nameOf({ kind, version }: WantedServer): string {
  return `${kind} ${version}`;
}
