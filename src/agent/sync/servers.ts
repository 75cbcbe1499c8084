import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { type Dialect, dialectOf } from '../redis/rdb/dialect.ts';
import { countFieldExpiries, isSourceServed, readServerInfo, type ServerInfo } from '../redis/server-info.ts';
import { type ModuleCommands, readModuleCommands } from './module-commands.ts';
import { hashFieldTtlsUnsupported, type TargetForm } from './payload.ts';
import { refusalError } from './refusal.ts';
import { holdsHashFieldTtls, readTargetCommands, type TargetCommands } from './target-commands.ts';

/** What a sync must know of its target. */
export type TargetFacts = {
  readonly runId: string | undefined;
  readonly isCluster: boolean;
  readonly commands: TargetCommands;
  readonly hasHashFieldTtls: boolean;
  readonly dialect: Dialect;
  /** The largest serialised collection that it may be told to restore in one go. */
  readonly restoreBytesMax: number;
};

/**
 * A target that restores so much does nothing else for about three seconds, and holds the bytes beside what it makes
 * of them.
 */
const RESTORE_BYTES_MAX = 256 * 1024 * 1024;
/** The share of the target's memory that may be taken for the bytes of one value on their way. */
const RESTORE_MEMORY_SHARE = 1 / 32;

/**
 * Connects to the target, or where it is silent to another node of the cluster that it was.
 *
 * @throws the codes of {@link openClient} for the target itself
 */
export async function openTarget({
  target,
  targetNodes,
}: {
  readonly target: Access;
  readonly targetNodes: readonly Access[];
}): Promise<Client> {
  try {
    return await openClient(target);
  } catch (error) {
    for (const node of targetNodes) {
      const client = await openClient(node).catch(() => undefined);
      if (client !== undefined) return client;
    }
    throw error;
  }
}

/**
 * Looks at the target and makes sure that it can take a sync.
 *
 * @throws target-read-only, and the codes of {@link Client.call}
 */
export async function inspectTarget(target: Client): Promise<TargetFacts> {
  const info = await readServerInfo(target);
  const { fields, kind } = info;
  const { address } = target.access;
  const isCluster = fields.get('cluster_enabled') === '1';
  // Any node of a cluster tells who its primaries are.
  if (!isCluster && fields.get('role') === 'slave') {
    throw new MigrationError('target-read-only', `The target ${address} is a replica and takes no writes.`);
  }
  const commands = await readTargetCommands(target);
  return {
    runId: fields.get('run_id'),
    isCluster,
    commands,
    hasHashFieldTtls: holdsHashFieldTtls(commands, kind),
    dialect: dialectOf(info),
    restoreBytesMax: restoreBytesMax(Number(fields.get('maxmemory') ?? 0)),
  };
}

/**
 * Makes sure that the target has a database.
 *
 * @throws target-databases-too-few, and the codes of {@link openClient}
 */
export async function probeDatabase(target: Access, db: number): Promise<void> {
  await using client = await openClient(target);
  try {
    await client.redis.select(db);
  } catch (error) {
    throw refusalError(target, { command: 'SELECT', text: `-${errorText(error)}`, isApplied: false });
  }
}

function restoreBytesMax(memoryBytes: number): number {
  return memoryBytes > 0
    ? Math.min(RESTORE_BYTES_MAX, Math.floor(memoryBytes * RESTORE_MEMORY_SHARE))
    : RESTORE_BYTES_MAX;
}

/** What a sync knows of its source. */
export type SourceFacts = {
  /** Undefined where INFO is refused. */
  readonly info: ServerInfo | undefined;
  readonly moduleCommands: ModuleCommands;
};

/** What the source is judged by; `isShard`: it is followed as one shard of a cluster. */
type JudgedTarget = TargetForm & {
  readonly runId: string | undefined;
  readonly address: string;
  readonly isShard?: boolean;
};

/**
 * Looks at the source, as far as its user may: replicating needs neither INFO nor COMMAND.
 *
 * @throws input-contradictory when it is the target, source-version-unsupported, source-cluster-unsupported,
 *   source-data-unsupported for expiry times of hash fields that the target cannot hold, and the codes of
 *   {@link openClient}
 */
export async function inspectSource(access: Access, target: JudgedTarget): Promise<SourceFacts> {
  await using source = await openClient(access);
  const info = await readInfoIfAllowed(source);
  if (info !== undefined) judgeSource(access, info, target);
  return { info, moduleCommands: await readModuleCommands(source) };
}

function judgeSource(access: Access, info: ServerInfo, target: JudgedTarget): void {
  const runId = info.fields.get('run_id');
  if (runId !== undefined && runId === target.runId) {
    throw new MigrationError(
      'input-contradictory',
      `The source ${access.address} and the target ${target.address} are the same server.`,
    );
  }
  if (!isSourceServed(info)) {
    throw new MigrationError(
      'source-version-unsupported',
      `The source ${access.address} is Redis ${info.version}.`,
    );
  }
  if (info.fields.get('cluster_enabled') === '1' && target.isShard !== true) {
    throw new MigrationError(
      'source-cluster-unsupported',
      `The source ${access.address} is in cluster mode.`,
    );
  }
  const isLosingFieldTtls = !target.hasHashFieldTtls && target.hashFieldTtl === 'refuse';
  if (isLosingFieldTtls && hasExpiringFields(info)) throw hashFieldTtlsUnsupported();
}

function hasExpiringFields({ fields }: ServerInfo): boolean {
  return [...fields].some(([name, value]) => /^db\d+$/.test(name) && (countFieldExpiries(value) ?? 0) > 0);
}

async function readInfoIfAllowed(source: Client): Promise<ServerInfo | undefined> {
  try {
    return await readServerInfo(source);
  } catch (error) {
    if (isMigrationError(error) && error.code === 'source-permission-denied') return undefined;
    throw error;
  }
}
