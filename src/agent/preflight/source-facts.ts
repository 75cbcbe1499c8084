import type { JobRequestOf } from '../../contract/jobs.ts';
import type { Clock } from '../../core/clock.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { openRawConnection } from '../redis/raw-connection.ts';
import { ErrorReply } from '../redis/reply-parser.ts';
import { checkpointKey, RESERVED_KEY } from '../redis/reserved-key.ts';
import { readSetting } from '../redis/server-setting.ts';
import { type Canary, sendCanary } from '../scan/canary.ts';
import { describeMissing, NOTIFY_SETTING, readNotifications } from '../scan/notifications.ts';
import { readTunables, type SettingValues } from '../tune/settings.ts';
import { measureSourceLoad, type SourceLoad } from '../tune/source-load.ts';
import { type PrimariesFacts, readPrimariesFacts } from './primaries-facts.ts';
import { isScanInPlay } from './rules/scan-rules.ts';
import { askPermission, denialText, type Permission, readCommonFacts } from './server-facts.ts';

/** The most keys whose type is looked at for data of modules; more would be load on the source. */
const SAMPLE_KEYS_MAX = 2000;
const SCAN_COUNT = 250;

const CORE_TYPES = new Set(['string', 'list', 'set', 'zset', 'hash', 'stream', 'none']);

/** The source as preflight found it; of one in cluster mode what all primaries say together. */
export type SourceFacts = PrimariesFacts & {
  readonly passwordGiven: boolean;
  readonly tls: boolean;
  /** Undefined where CONFIG is denied. */
  readonly listening: { readonly bind: readonly string[]; readonly protectedMode: boolean } | undefined;
  /** Whether PSYNC and REPLCONF are allowed. */
  readonly replication: Permission;
  readonly fence: Permission;
  /** Whether writes can be fenced by ACL, which alone lets a way back write; undefined where nobody wants one. */
  readonly aclFence: Permission | undefined;
  /** Names of modules; undefined where MODULE LIST is denied. */
  readonly modules: readonly string[] | undefined;
  /** What a look at some of the keys found. */
  readonly sample: {
    readonly keys: number;
    readonly moduleTypes: readonly { readonly type: string; readonly keys: number }[];
  };
  readonly load: SourceLoad;
  /** The settings that a sync may change; undefined where CONFIG is denied. */
  readonly tunables: SettingValues | undefined;
  /** Whether the user may change them. */
  readonly tuning: Permission;
  /** Whether the sync may send the canaries by which it measures its lag. */
  readonly canaries: Permission;
  readonly scan: ScanFacts;
  /** Of a source in cluster mode each primary by itself, in the order of their slots. */
  readonly shards: readonly SourceFacts[];
};

/** What the route `scan` needs of the source. */
export type ScanFacts = {
  /** The setting of its keyspace notifications; undefined where CONFIG is denied. */
  readonly setting: string | undefined;
  /** Whether they arrive; undefined where it was not to be tried. */
  readonly canary: Canary | undefined;
  /** Whether the user may run the commands by which keys are found and read. */
  readonly reads: readonly { readonly command: string; readonly permission: Permission }[];
};

/** What the facts are for. */
export type Gathering = Pick<JobRequestOf<'preflight'>, 'route' | 'canaryWrite' | 'reverse'> & {
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/**
 * Looks at the source; changes nothing there but, where it is to be scanned and a canary is allowed, one key of ours.
 *
 * @throws the codes of a connection to the source, or the signal's reason
 */
export async function gatherSourceFacts(access: Access, gathering: Gathering): Promise<SourceFacts> {
  await using primaries = await openPrimaries(access);
  const all = await Promise.all(
    primaries.all.map((client, index) => {
      const slot = primaries.topology?.nodes[index]?.ranges[0]?.[0];
      const canaryKey = slot === undefined ? RESERVED_KEY : checkpointKey(slot);
      return gatherServer(client, { ...gathering, canaryKey });
    }),
  );
  const [first] = all;
  if (first === undefined) throw new Error('a source without a primary');
  if (primaries.topology === undefined) return first;
  const permissions = {
    replication: worstOf(all.map(({ replication }) => replication)),
    fence: worstOf(all.map(({ fence }) => fence)),
    aclFence: first.aclFence && worstOf(all.flatMap(({ aclFence }) => aclFence ?? [])),
  };
  const common = await readPrimariesFacts(primaries, gathering.signal);
  const modules = all.flatMap((shard) => shard.modules ?? []);
  const areModulesKnown = all.every((shard) => shard.modules !== undefined);
  return {
    ...first,
    ...common,
    ...permissions,
    modules: areModulesKnown ? [...new Set(modules)] : undefined,
    scan: worstScan(all.map(({ scan }) => scan)),
    sample: addSamples(all.map(({ sample }) => sample)),
    shards: all,
  };
}

/** Of the primary that tells least; a command must be allowed at all of them. */
function worstScan(all: readonly ScanFacts[]): ScanFacts {
  const lacks = ({ setting, canary }: ScanFacts) =>
    (setting !== undefined && describeMissing(readNotifications(setting)) !== undefined) ||
    canary?.state === 'refused' ||
    (canary !== undefined && describeMissing(canary) !== undefined);
  const worst = all.find(lacks) ?? all[0];
  if (worst === undefined) throw new Error('a source without a primary');
  const reads = worst.reads.map(({ command }, index) => {
    const permissions = all.flatMap(({ reads: own }) => own[index]?.permission ?? []);
    return { command, permission: worstOf(permissions) };
  });
  return { ...worst, reads };
}

function worstOf(permissions: readonly Permission[]): Permission {
  const of = (state: Permission['state']) => permissions.find((permission) => permission.state === state);
  return of('denied') ?? of('unknown') ?? { state: 'allowed' };
}

function addSamples(samples: readonly SourceFacts['sample'][]): SourceFacts['sample'] {
  const types = new Map<string, number>();
  for (const { type, keys } of samples.flatMap(({ moduleTypes }) => moduleTypes)) {
    types.set(type, (types.get(type) ?? 0) + keys);
  }
  return {
    keys: samples.reduce((sum, { keys }) => sum + keys, 0),
    moduleTypes: Array.from(types, ([type, keys]) => ({ type, keys })),
  };
}

/** One server, or one primary of a cluster; a canary writes the key. */
async function gatherServer(
  client: Client,
  gathering: Gathering & { readonly canaryKey: Buffer },
): Promise<SourceFacts> {
  const { route, canaryWrite, canaryKey, reverse, clock, signal } = gathering;
  const { access } = client;
  const common = await readCommonFacts(client);
  const replication = await probeReplication(access, signal);
  const isCanaryWanted = canaryWrite && isScanInPlay({ replication }, { route });
  return {
    ...common,
    cluster: undefined,
    shards: [],
    passwordGiven: access.password !== undefined,
    tls: access.tls !== undefined,
    listening: await readListening(client),
    replication,
    fence: await probeFence(client),
    aclFence: reverse === true ? await probeAclFence(client) : undefined,
    modules: await readModules(client),
    sample: await sampleTypes(access, common),
    load: await measureSourceLoad(client, { latencyMs: common.server.latencyMs, clock, signal }),
    tunables: await readTunablesIfAllowed(client),
    tuning: await askPermission(client, 'CONFIG', 'SET', 'rdbcompression', 'no'),
    canaries: await askPermission(client, 'PUBLISH', '__valkey-migrate__', ''),
    scan: {
      setting: await readSettingIfAllowed(client, NOTIFY_SETTING),
      canary: isCanaryWanted ? await sendCanary(access, { key: canaryKey, signal }) : undefined,
      reads: await askReads(client),
    },
  };
}

const SCAN_READS: readonly (readonly [string, ...string[]])[] = [
  ['SCAN', '0'],
  ['DUMP', 'k'],
  ['TYPE', 'k'],
  ['GETRANGE', 'k', '0', '1'],
  ['PSUBSCRIBE', '__keyevent@*__:*'],
];

async function askReads(client: Client): Promise<ScanFacts['reads']> {
  const reads: { command: string; permission: Permission }[] = [];
  for (const [command, ...args] of SCAN_READS) {
    reads.push({ command, permission: await askPermission(client, command, ...args) });
  }
  return reads;
}

async function readListening(client: Client): Promise<SourceFacts['listening']> {
  const bind = await readSettingIfAllowed(client, 'bind');
  const protectedMode = await readSettingIfAllowed(client, 'protected-mode');
  if (bind === undefined || protectedMode === undefined) return undefined;
  return {
    bind: bind.split(/\s+/).filter((address) => address !== ''),
    protectedMode: protectedMode === 'yes',
  };
}

/**
 * Finds out whether PSYNC is allowed without beginning a full sync, which would cost the source a fork.
 *
 * REPLCONF is simply sent. PSYNC is sent behind a SUBSCRIBE: in the subscribed state of RESP2 every version refuses it,
 * but only after its ACL check (redis 6.2-8.0, valkey 8.0-9.1), so that the error tells which of the two it was.
 */
async function probeReplication(access: Access, signal: AbortSignal): Promise<Permission> {
  await using connection = await openRawConnection(access, { signal });
  const [replconf] = await connection.send([['REPLCONF', 'capa', 'eof']]);
  if (replconf instanceof ErrorReply) return { state: 'denied', detail: replconf.message };
  const [subscribed] = await connection.send([['SUBSCRIBE', '__valkey-migrate__']]);
  if (!Array.isArray(subscribed)) {
    return { state: 'unknown', detail: `SUBSCRIBE, behind which PSYNC can be tried, answered ${subscribed}` };
  }
  const [psync] = await connection.send([['PSYNC', '?', '-1']]);
  const answer = String(psync instanceof ErrorReply ? psync.message : psync);
  if (/allowed in this context/.test(answer)) return { state: 'allowed' };
  return { state: 'denied', detail: answer };
}

/** The fence needs CONFIG GET, CONFIG SET and CLIENT PAUSE; where ACL DRYRUN is not to be had, the first stands for all. */
async function probeFence(client: Client): Promise<Permission> {
  try {
    await readSetting(client, 'min-replicas-to-write');
  } catch (error) {
    return { state: 'denied', detail: denialText(error) };
  }
  for (const command of [
    ['CONFIG', 'SET', 'min-replicas-to-write', '0'],
    ['CLIENT', 'PAUSE', '1', 'WRITE'],
    ['CLIENT', 'UNPAUSE'],
  ]) {
    const permission = await askPermission(client, ...command);
    if (permission.state !== 'allowed') return permission;
  }
  return { state: 'allowed' };
}

/** Users are read, and whether one may be changed is asked. */
async function probeAclFence(client: Client): Promise<Permission> {
  try {
    const user = (await client.callText('ACL', 'WHOAMI')) ?? 'default';
    await client.call('ACL', 'USERS');
    await client.call('ACL', 'GETUSER', user);
  } catch (error) {
    return { state: 'denied', detail: denialText(error) };
  }
  for (const command of ['SETUSER', 'DELUSER']) {
    const permission = await askPermission(client, 'ACL', command, 'valkey-migrate');
    if (permission.state !== 'allowed') return permission;
  }
  return { state: 'allowed' };
}

/** MODULE LIST: one array of alternating names and values for each module, with `name` among them. */
async function readModules(client: Client): Promise<readonly string[] | undefined> {
  let reply: unknown;
  try {
    reply = await client.call('MODULE', 'LIST');
  } catch (error) {
    denialText(error);
    return undefined;
  }
  if (!Array.isArray(reply)) return undefined;
  return reply.flatMap((module: unknown) => {
    if (!Array.isArray(module)) return [];
    const nameAt = module.findIndex((part) => String(part) === 'name');
    return nameAt < 0 ? [] : [String(module[nameAt + 1])];
  });
}

async function sampleTypes(
  access: Access,
  { databases }: Pick<SourceFacts, 'databases'>,
): Promise<SourceFacts['sample']> {
  const moduleTypes = new Map<string, number>();
  let keys = 0;
  const share = Math.max(SCAN_COUNT, Math.floor(SAMPLE_KEYS_MAX / Math.max(1, databases.length)));
  for (const { db } of databases) {
    if (keys >= SAMPLE_KEYS_MAX) break;
    await using client = await openClient(access, { db });
    const types = await sampleDatabase(client, share);
    keys += types.length;
    for (const type of types) {
      if (!CORE_TYPES.has(type)) moduleTypes.set(type, (moduleTypes.get(type) ?? 0) + 1);
    }
  }
  return { keys, moduleTypes: Array.from(moduleTypes, ([type, count]) => ({ type, keys: count })) };
}

async function sampleDatabase(client: Client, keysMax: number): Promise<string[]> {
  const types: string[] = [];
  let cursor = '0';
  do {
    const reply = await client.call('SCAN', cursor, 'COUNT', SCAN_COUNT);
    const [next, keys]: unknown[] = Array.isArray(reply) ? reply : [];
    cursor = String(next ?? '0');
    const found = Array.isArray(keys) ? keys.filter((key) => Buffer.isBuffer(key)) : [];
    types.push(
      ...(await Promise.all(found.map(async (key) => (await client.callText('TYPE', key)) ?? 'none'))),
    );
  } while (cursor !== '0' && types.length < keysMax);
  return types;
}

async function readTunablesIfAllowed(client: Client): Promise<SettingValues | undefined> {
  try {
    return await readTunables(client);
  } catch (error) {
    denialText(error);
    return undefined;
  }
}

async function readSettingIfAllowed(client: Client, name: string): Promise<string | undefined> {
  try {
    return await readSetting(client, name);
  } catch (error) {
    denialText(error);
    return undefined;
  }
}
