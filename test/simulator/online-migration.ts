import { Redis } from 'ioredis';
import { parseInfo, type SimulatedReplicationGroup } from './replication-group.ts';
import { pause } from './run-command.ts';
import type { Timing } from './timing.ts';

/** Where the data comes from, as CustomerNodeEndpointList says it. */
export type SourceEndpoint = { address: string; port: number };

/** A migration onto a group, from StartMigration until it is promoted or given up. */
export type OnlineMigration = {
  readonly group: SimulatedReplicationGroup;
  readonly source: SourceEndpoint;
  readonly stop: AbortController;
  /** `starting` until the node has been told to replicate. */
  phase: 'starting' | 'replicating' | 'completing';
};

/** What the migrations need from the service. */
export type MigrationSurroundings = {
  readonly timing: Timing;
  readonly signal: AbortSignal;
  /** Migrations in progress by group id. */
  readonly migrations: Map<string, OnlineMigration>;
  /** Adds an event of the group. */
  announce(group: SimulatedReplicationGroup, message: string): void;
};

/** For the connection and for each answer: a source that hangs counts as out of reach. */
const SOURCE_TIMEOUT_MS = 1000;

/**
 * TestMigration's work: can a node reach the source and talk to it without a password? The result is an event.
 * AWS does not document the texts of these events: they are the simulator's own.
 */
export async function testMigration(
  surroundings: MigrationSurroundings,
  group: SimulatedReplicationGroup,
  source: SourceEndpoint,
): Promise<void> {
  await pause(surroundings.timing.testMigrationMs, surroundings.signal);
  if (surroundings.signal.aborted) return;
  try {
    await readSource(source, (client) => client.ping());
    surroundings.announce(group, `Test migration succeeded for replication group ${group.id}.`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    surroundings.announce(group, `Test migration failed for replication group ${group.id}: ${reason}`);
  }
}

/**
 * StartMigration's work: the node becomes a replica of the source. Status `modifying`, then `migrating`.
 * A node that does not get its data within the allowed attempts promotes itself: status `available` and an event.
 */
export async function runMigration(
  surroundings: MigrationSurroundings,
  migration: OnlineMigration,
): Promise<void> {
  const { group, source, stop } = migration;
  const signal = AbortSignal.any([stop.signal, surroundings.signal]);
  await pause(surroundings.timing.modifyingMs, signal);
  if (signal.aborted) return;
  await group.admin('REPLICAOF', source.address, String(source.port));
  migration.phase = 'replicating';
  group.status = 'migrating';
  const isLinked = await waitForLink(surroundings.timing, group, signal);
  if (isLinked || signal.aborted) return;
  await promote(surroundings, migration);
  surroundings.announce(group, `Migration operation failed for replication group ${group.id}.`);
}

/**
 * CompleteMigration's work without Force: promotes a node that has all the source has, else leaves it replicating.
 * The success text is documented; the one for a group out of sync is the simulator's own.
 */
export async function completeMigration(
  surroundings: MigrationSurroundings,
  migration: OnlineMigration,
): Promise<void> {
  const { group } = migration;
  const signal = AbortSignal.any([migration.stop.signal, surroundings.signal]);
  await pause(surroundings.timing.completingMs, signal);
  const isInSync = await hasCaughtUp(surroundings.timing, migration, signal);
  if (signal.aborted) return;
  if (!isInSync) {
    migration.phase = 'replicating';
    surroundings.announce(
      group,
      `Complete Migration failed for ${group.id}: the data is not in sync with the source.`,
    );
    return;
  }
  await promote(surroundings, migration);
  surroundings.announce(group, `Complete Migration successful for ${group.id}`);
}

/** CompleteMigration with Force: the node stops replicating at once, whatever it has. */
export async function stopMigration(
  surroundings: MigrationSurroundings,
  migration: OnlineMigration,
): Promise<void> {
  migration.stop.abort();
  await promote(surroundings, migration);
}

async function promote(surroundings: MigrationSurroundings, { group }: OnlineMigration): Promise<void> {
  await group.admin('REPLICAOF', 'NO', 'ONE');
  surroundings.migrations.delete(group.id);
  group.status = 'available';
}

/**
 * False after the allowed number of failed attempts: a full sync that ended without a link ("Can't handle RDB
 * format version" makes the node loop like that), or no contact at all for the length of an attempt.
 */
async function waitForLink(
  timing: Timing,
  group: SimulatedReplicationGroup,
  signal: AbortSignal,
): Promise<boolean> {
  let failures = 0;
  let wasSyncing = false;
  let idleSince = Date.now();
  while (!signal.aborted && failures < timing.linkAttempts) {
    const info = await replicationInfo(group);
    if (info.get('master_link_status') === 'up') return true;
    const isSyncing = info.get('master_sync_in_progress') === '1';
    const hasLostTouch = !isSyncing && Date.now() - idleSince > timing.linkTimeoutMs;
    if ((wasSyncing && !isSyncing) || hasLostTouch) failures += 1;
    if (isSyncing || wasSyncing || hasLostTouch) idleSince = Date.now();
    wasSyncing = isSyncing;
    await pause(timing.pollMs, signal);
  }
  return false;
}

/** INFO replication of the node; empty while the node does not answer, which counts as no link. */
async function replicationInfo(group: SimulatedReplicationGroup): Promise<Map<string, string>> {
  return group.info('replication').catch(() => new Map<string, string>());
}

async function hasCaughtUp(
  timing: Timing,
  migration: OnlineMigration,
  signal: AbortSignal,
): Promise<boolean> {
  let goal: number;
  try {
    const info = await readSource(migration.source, (client) => client.info('replication'));
    goal = Number(parseInfo(info).get('master_repl_offset'));
  } catch {
    // A source out of reach cannot be compared with, so the data cannot be called in sync.
    return false;
  }
  const deadline = Date.now() + timing.syncCheckMs;
  do {
    const info = await replicationInfo(migration.group);
    if (info.get('master_link_status') === 'up' && Number(info.get('slave_repl_offset')) >= goal) return true;
    await pause(timing.pollMs, signal);
  } while (!signal.aborted && Date.now() < deadline);
  return false;
}

async function readSource<Answer>(
  { address, port }: SourceEndpoint,
  ask: (client: Redis) => Promise<Answer>,
): Promise<Answer> {
  const client = new Redis({
    host: address,
    port,
    lazyConnect: true,
    connectTimeout: SOURCE_TIMEOUT_MS,
    commandTimeout: SOURCE_TIMEOUT_MS,
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  let failure: Error | undefined;
  client.on('error', (error: Error) => {
    failure = error;
  });
  try {
    await client.connect();
    return await ask(client);
  } catch (error) {
    // ioredis says "Connection is closed." to the command and tells the reason only to the listener.
    throw failure ?? error;
  } finally {
    client.disconnect();
  }
}
