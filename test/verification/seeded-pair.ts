import { startLiveWriters } from '../agent/sync/live-writers.ts';
import { startSync } from '../agent/sync/sync-run.ts';
import { expectedLines, type Need, plantAtSource, plantAtTarget, seedsFor } from '../agent/verify/seeds.ts';
import { differenceLines, startPair, verifyPair } from '../agent/verify/verify-pair.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { compareVersions, type ServerBinary } from '../servers/server-binary.ts';

/** What a verification of planted differences found, each as `db key type kind`. */
export type SeededFindings = {
  readonly kinds: number;
  readonly expected: readonly string[];
  readonly found: readonly string[];
};

/** `sync`: what is equal is carried by a sync of ours, which goes on; `nothing`: it is written to both sides. */
export type Carrier = 'sync' | 'nothing';

const KEYS = 1500;

/** Plants every kind of difference that the pair can have, and verifies beside clients that write to the source. */
export async function findSeeds(
  binaries: { readonly source: ServerBinary; readonly target: ServerBinary },
  carrier: Carrier,
): Promise<SeededFindings> {
  await using pair = await startPair(binaries.source, binaries.target);
  const { source, target } = pair;
  const seeds = seedsFor(needsMet(binaries, carrier));
  await plantAtSource(source.client, seeds);
  await using stack = new AsyncDisposableStack();
  if (carrier === 'sync') {
    await loadDataSet(source.client(), { keys: KEYS, seed: 11 });
    await source
      .client()
      .call('FUNCTION', 'DELETE', 'fixture')
      .catch(() => {});
    const writers = startLiveWriters(source, { version: commandVersion(binaries.source) });
    stack.defer(async () => void (await writers.stop()));
    const sync = stack.use(await startSync({ source, target }));
    await sync.until(({ stage }) => stage === 'live');
    await writers.rounds(50);
  }
  await plantAtTarget(target.client, seeds, { isPadded: carrier === 'sync' });
  const report = await verifyPair(pair);
  const expected = expectedLines(seeds).map(withoutDetail);
  return { kinds: expected.length, expected, found: differenceLines(report).map(withoutDetail) };
}

/** Details name numbers that a server which only knows the time that is left can not tell exactly. */
export function withoutDetail(line: string): string {
  return line.replace(/(value|ttl|type|missing|extra|stream-metadata|function): .*$/s, '$1');
}

function needsMet(
  { source, target }: { source: ServerBinary; target: ServerBinary },
  carrier: Carrier,
): Set<Need> {
  const has = new Set<Need>();
  const isNew = commandVersion(source) >= '7';
  if (isNew)
    for (const need of ['stream-counters', 'exact-expiry', 'known-expiry', 'functions'] as const)
      has.add(need);
  if (carrier === 'nothing') has.add('known-expiry');
  if (expiresFields(source) && expiresFields(target)) has.add('field-expiry');
  return has;
}

/** Whether it knows fields of hashes that expire. */
export function expiresFields({ kind, version }: ServerBinary): boolean {
  return compareVersions(version, kind === 'redis' ? '7.4' : '9.0') >= 0;
}

/** The version of Redis that a server is compatible with. */
export function commandVersion({ kind, version }: ServerBinary): string {
  return kind === 'valkey' ? '7.2.4' : version;
}
