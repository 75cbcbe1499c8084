import { isReservedKey } from '../../../../src/agent/redis/reserved-key.ts';
import type { RunningCluster } from '../../../servers/cluster.ts';
import type { RunningServer } from '../../../servers/start.ts';
import { type DumpOptions, readTypedDump, type TypedDump } from '../typed-dump.ts';

/** Reads what all of these primaries hold together; throws when two of them hold the same key. */
export async function readClusterDump(
  primaries: readonly RunningServer[],
  options?: DumpOptions,
): Promise<TypedDump> {
  const keys = new Map<string, TypedDump['keys'] extends ReadonlyMap<string, infer Key> ? Key : never>();
  let isPrecise = true;
  for (const primary of primaries) {
    const dump = await readTypedDump(primary.client(), options);
    isPrecise &&= dump.isPrecise;
    for (const [key, value] of dump.keys) {
      if (keys.has(key)) throw new Error(`two primaries hold ${key}`);
      keys.set(key, value);
    }
  }
  return { keys, isPrecise };
}

/** The keys of the tool that lie in a cluster. */
export async function reservedKeys(cluster: RunningCluster): Promise<string[]> {
  const found: string[] = [];
  for (const primary of cluster.primaries) {
    for (const key of await primary.client().keysBuffer('__valkey-migrate__*')) {
      if (isReservedKey(key)) found.push(String(key));
    }
  }
  return found.sort();
}
