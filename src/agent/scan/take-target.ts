import type { Primaries } from '../redis/cluster/primaries.ts';
import { flushServer } from '../redis/flush.ts';
import { countKeys } from '../redis/server-info.ts';
import { endEarlierWriters } from '../redis/writers.ts';
import {
  claimForCopy,
  claimForReconcile,
  planStart,
  readTargetContent,
  refuseShrunkSource,
} from '../sync/claim.ts';
import type { TargetFacts } from '../sync/servers.ts';
import type { ScanWorld } from './session.ts';
import type { SourceNode } from './source-nodes.ts';

/** What is known of the two servers before the target is taken. */
export type Found = {
  readonly primaries: Primaries;
  readonly facts: TargetFacts;
  readonly nodes: readonly SourceNode[];
};

/**
 * Claims the target, and empties it where that is wanted; returns whether it may hold keys that the source has not.
 *
 * What an earlier sync of this migration has left there is kept, whatever it was: everything is written over it.
 *
 * @throws migration-conflict, target-not-empty, source-shrunk, and the codes of connections to the target
 */
export async function takeTarget(world: ScanWorld, { primaries, facts, nodes }: Found): Promise<boolean> {
  const { holder, flushTarget, context, target, meter } = world;
  const { home, all } = primaries;
  const options = { holder, flushTarget, address: target.address };
  const isWayBack = world.holdTarget !== undefined;
  // What it holds is what this migration has left there.
  if (isWayBack) await claimForReconcile(home, { holder, hasFunctions: false });
  planStart(await readTargetContent(home), options);
  for (const primary of all) await endEarlierWriters(primary, holder.migrationId);
  // What an earlier writer had on its way may have changed it.
  const content = await readTargetContent(home);
  const plan = planStart(content, options);
  const hasFunctions = facts.commands.has('FUNCTION');
  const infos = nodes.flatMap(({ info }) => info ?? []);
  const runIds = infos.flatMap(({ fields }) => fields.get('run_id') ?? []);
  const runId = runIds.length === nodes.length ? runIds.join(' ') : undefined;
  const isSameSource = runId !== undefined && runId === world.sourceRunId;
  world.sourceRunId = runId;
  if (content.claim === undefined) {
    const mustFlush = plan.kind === 'copy' && plan.mustFlush;
    if (mustFlush) for (const primary of all) if (primary !== home) await flushServer(primary);
    await claimForCopy(home, { holder, mustFlush, hasFunctions });
    return false;
  }
  // One that came back empty from a restart would take the last copy with it; what a client flushes is meant.
  if (infos.length === nodes.length && !isSameSource) {
    const sourceKeys = infos.reduce((sum, { fields }) => sum + countKeys(fields), 0);
    refuseShrunkSource({ sourceKeys, targetKeys: content.keys });
  }
  if (!isWayBack) await claimForReconcile(home, { holder, hasFunctions });
  meter.rescans += 1;
  meter.note('everything is written over, then what the source has no more is removed');
  context.log('going over everything: the target holds what an earlier sync has left');
  return true;
}
