import { randomBytes } from 'node:crypto';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { type Claim, readClaim } from '../redis/checkpoint.ts';
import { type Client, openClient } from '../redis/client.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { FOOTER_BYTES, FOOTER_VERSION, withFooter } from '../redis/rdb/footer.ts';
import {
  type PrimariesFacts,
  readPrimariesFacts,
  type TaggedPrimary,
  tagPrimaries,
} from './primaries-facts.ts';
import { askPermission } from './server-facts.ts';

/** If the host dies between writing and deleting the canary, the target deletes it by itself. */
const CANARY_LIFE_MS = 60_000;

/** Commands that the sync sends to the target, each with arguments that its arity wants. */
const NEEDED_COMMANDS: readonly (readonly string[])[] = [
  ['SELECT', '0'],
  ['MULTI'],
  ['EXEC'],
  ['RESTORE', 'k', '0', 'payload'],
  ['SET', 'k', 'v'],
  ['MSET', 'k', 'v'],
  ['DEL', 'k'],
  ['UNLINK', 'k'],
  ['HSET', 'k', 'f', 'v'],
  ['RPUSH', 'k', 'v'],
  ['SADD', 'k', 'm'],
  ['ZADD', 'k', '1', 'm'],
  ['XADD', 'k', '*', 'f', 'v'],
  ['XGROUP', 'CREATE', 'k', 'g', '0'],
  ['PEXPIREAT', 'k', '1'],
  ['SCAN', '0'],
  ['DUMP', 'k'],
];

/** What it sends besides where either side is in cluster mode. */
const BATCH_COMMANDS: typeof NEEDED_COMMANDS = [
  ['COMMAND'],
  ['SCRIPT', 'LOAD', 'return 1'],
  ['EVALSHA', 'sha', '0'],
];

/** What it sends to a target in cluster mode besides. */
const CLUSTER_COMMANDS: typeof NEEDED_COMMANDS = [
  ['CLUSTER', 'SLOTS'],
  ['CLUSTER', 'NODES'],
  ['WAIT', '1', '1'],
  ...BATCH_COMMANDS,
];

/** What the way back sends to it, as to any source that is scanned, and to fence it. */
const WAY_BACK_COMMANDS: typeof NEEDED_COMMANDS = [
  ['SCAN', '0'],
  ['DUMP', 'k'],
  ['GETRANGE', 'k', '0', '1'],
  ['FUNCTION', 'DUMP'],
  ['PSUBSCRIBE', '__keyevent@*__:*'],
  ['CLIENT', 'PAUSE', '1', 'WRITE'],
  ['CLIENT', 'UNPAUSE'],
];

/** What became of the canary: a write that was tried and undone. */
export type Canary =
  | { readonly state: 'written' }
  | { readonly state: 'refused'; readonly error: MigrationError };

/** The target as preflight found it. */
export type TargetServerFacts = PrimariesFacts & {
  readonly tls: boolean;
  readonly claim: Claim | MigrationError | undefined;
  /** Keys besides the claim and the checkpoints of primaries. */
  readonly keys: number;
  /** What SELECT of the highest database of the source was answered; undefined where it is there. */
  readonly selectRefusal: string | undefined;
  /** Undefined where no canary was asked for, or the target is a replica. */
  readonly canary: Canary | undefined;
  /** Commands of the sync that ACL DRYRUN says are denied; undefined where it is not to be had. */
  readonly deniedCommands: readonly string[] | undefined;
  /** The same of what a way back needs of it; undefined where nobody wants one, too. */
  readonly deniedToWayBack: readonly string[] | undefined;
};

/** What the facts are for. */
type TargetGathering = {
  readonly canaryWrite: boolean;
  /** Whether a way back is to be kept. */
  readonly reverse: boolean;
  readonly highestDb: number;
  readonly isSourceCluster: boolean;
  readonly signal: AbortSignal;
};

/**
 * Looks at the target; writes nothing but, when asked, one key on every primary that it deletes again.
 *
 * @throws the codes of a connection to the target
 */
export async function gatherTargetFacts(
  access: Access,
  { canaryWrite, reverse, highestDb, isSourceCluster, signal }: TargetGathering,
): Promise<TargetServerFacts> {
  await using target = await openPrimaries(access);
  const common = await readPrimariesFacts(target, signal);
  const claim = await readClaimIfReadable(target.home);
  return {
    ...common,
    tls: access.tls !== undefined,
    claim,
    keys: common.databases.reduce((sum, { keys }) => sum + keys, 0) - countOurs(claim, common),
    selectRefusal: await readSelectRefusal(access, highestDb),
    // A replica refuses every write, which its role says already.
    canary:
      canaryWrite && common.server.role === 'master' ? await writeCanaries(tagPrimaries(target)) : undefined,
    deniedCommands: await readDeniedCommands(target.home, [
      ...NEEDED_COMMANDS,
      ...(target.topology !== undefined ? CLUSTER_COMMANDS : isSourceCluster ? BATCH_COMMANDS : []),
    ]),
    deniedToWayBack: reverse ? await readDeniedCommands(target.home, WAY_BACK_COMMANDS) : undefined,
  };
}

/** The claims and checkpoints that a sync has left there. */
function countOurs(claim: TargetServerFacts['claim'], { cluster }: PrimariesFacts): number {
  if (claim === undefined) return 0;
  const primaries = cluster?.primaries.length;
  const shards = isMigrationError(claim) ? 0 : (claim.sourceShards?.length ?? 0);
  return 1 + (shards === 0 ? (primaries ?? 0) : shards * (1 + (primaries ?? 1)));
}

/** A key of ours that cannot be read is a finding, not the end of the examination. */
async function readClaimIfReadable(client: Client): Promise<Claim | MigrationError | undefined> {
  try {
    return await readClaim(client);
  } catch (error) {
    if (isMigrationError(error) && error.code === 'migration-conflict') return error;
    throw error;
  }
}

async function readSelectRefusal(access: Access, db: number): Promise<string | undefined> {
  if (db === 0) return undefined;
  // On a connection of its own, since the others stay on database 0.
  await using client = await openClient(access);
  try {
    await client.call('SELECT', db);
    return undefined;
  } catch (error) {
    return errorText(error);
  }
}

/** One on every primary, up to the first that is refused. */
async function writeCanaries(primaries: readonly TaggedPrimary[]): Promise<Canary> {
  for (const primary of primaries) {
    const canary = await writeCanary(primary);
    if (canary.state === 'refused') return canary;
  }
  return { state: 'written' };
}

/** Writes, reads and deletes a key as the sync does: by SET, and by RESTORE of a payload with a footer of ours. */
async function writeCanary({ client, tag }: TaggedPrimary): Promise<Canary> {
  const key = `__valkey-migrate-canary__${randomBytes(8).toString('hex')}${tag}`;
  const value = randomBytes(8).toString('hex');
  try {
    await client.call('SET', key, value, 'PX', CANARY_LIFE_MS);
    await assertReads(client, key, value);
    await client.call('DEL', key);
    await client.call('RESTORE', key, CANARY_LIFE_MS, stringPayload(value));
    await assertReads(client, key, value);
    await client.call('DEL', key);
    return { state: 'written' };
  } catch (error) {
    if (!isMigrationError(error) || /-(unreachable|not-ready)$/.test(error.code)) throw error;
    return { state: 'refused', error: nameRefusal(client, error) };
  }
}

/** DUMP payload of a short string: type 0, a length of six bits, the bytes, the footer. */
function stringPayload(value: string): Buffer {
  const bytes = Buffer.from(value);
  return withFooter(
    Buffer.concat([Buffer.from([0, bytes.length]), bytes, Buffer.alloc(FOOTER_BYTES)]),
    FOOTER_VERSION,
  );
}

async function assertReads(client: Client, key: string, value: string): Promise<void> {
  const read = await client.callText('GET', key);
  if (read === value) return;
  throw new MigrationError(
    'target-refused-command',
    `The target ${client.access.address} took the canary and gave ${read === undefined ? 'nothing' : 'something else'} back.`,
  );
}

/** An error reply without a name of its own, such as OOM or a payload that is not taken, is a refused command. */
function nameRefusal(client: Client, error: MigrationError): MigrationError {
  if (error.code !== 'target-protocol-error') return error;
  const message = `The target ${client.access.address} refused the canary: ${error.message}`;
  return new MigrationError('target-refused-command', message, { cause: error });
}

async function readDeniedCommands(
  client: Client,
  commands: typeof NEEDED_COMMANDS,
): Promise<readonly string[] | undefined> {
  const denied: string[] = [];
  for (const command of commands) {
    const permission = await askPermission(client, ...command);
    if (permission.state === 'unknown') return undefined;
    const [name = '', of = ''] = command;
    if (permission.state === 'denied') denied.push(name === 'CLIENT' ? `${name} ${of}` : name);
  }
  return denied;
}
