import type { KeyDisplay } from '../../contract/jobs.ts';
import type { HashFieldTtl } from '../../contract/skipped.ts';
import type { JobContext } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import type { Client } from '../redis/client.ts';
import { openPrimaries, type Primaries } from '../redis/cluster/primaries.ts';
import type { Holder } from '../sync/claim.ts';
import type { CopyBudget } from '../sync/copy-budget.ts';
import { inspectTarget, type TargetFacts } from '../sync/servers.ts';
import { Skips } from '../sync/skips.ts';
import type { TouchedKeys } from '../touched/touched-keys.ts';
import type { Tuning } from '../tune/source-tuning.ts';
import { Attention } from './attention.ts';
import type { Copier } from './copier.ts';
import { DirtyKeys, type TakenKeys } from './dirty-keys.ts';
import { type EventStream, openEventStream, patternOf, readEvent } from './event-stream.ts';
import { follow, goLive, leaveClaim } from './follow.ts';
import { openCopier } from './open-copier.ts';
import { passOver } from './pass.ts';
import type { ScanMeter } from './scan-meter.ts';
import { inspectNodes, openSourceClient, type SourceNode } from './source-nodes.ts';
import type { StreamGroups } from './stream-groups.ts';
import { superviseSession } from './supervise.ts';
import { takeTarget } from './take-target.ts';

/** What stays the same over all connections of one sync by scanning. */
export type ScanWorld = {
  readonly source: Access;
  readonly target: Access;
  readonly flushTarget: boolean;
  readonly hashFieldTtl: HashFieldTtl;
  readonly keyDisplay: KeyDisplay;
  readonly holder: Holder;
  readonly meter: ScanMeter;
  readonly context: JobContext;
  readonly copies: CopyBudget;
  readonly touched: TouchedKeys;
  readonly streams: StreamGroups;
  readonly tuning: Tuning;
  /** Of a way back: makes sure that nobody else writes to the target, which is a copy of the source already. */
  readonly holdTarget?: () => Promise<void>;
  /** Of a source in cluster mode its primaries as they were last seen: whom to ask when the source is silent. */
  readonly sourceNodes: Access[];
  /** The process, or processes, that the source was when it was last seen. */
  sourceRunId: string | undefined;
};

/** One set of connections at work. */
export type ScanSession = ScanWorld & {
  readonly sourceClient: Client;
  readonly primaries: Primaries;
  readonly facts: TargetFacts;
  readonly nodes: readonly SourceNode[];
  /** Which primary of the source owns which slots, as text to compare; empty for a standalone source. */
  readonly layout: string;
  /** What each of the nodes tells. */
  readonly events: readonly EventStream[];
  readonly attention: Attention;
  readonly dirty: DirtyKeys;
  readonly copier: Copier;
  /** Dirty keys that have been taken and are not in the target yet. */
  readonly underWay: Set<TakenKeys>;
  readonly skips: Skips;
  /** Aborted when the session is over, for whatever reason. */
  readonly signal: AbortSignal;
};

/**
 * Syncs over one set of connections: subscribes, goes over everything, then follows the events, and goes over
 * everything again when some may have been missed.
 *
 * Ends by an error only: the signal's reason when the job is asked to stop, else what went wrong. The next session
 * then goes over everything, since it does not know what has happened in between.
 *
 * @throws target-not-empty, migration-conflict, source-shrunk, notifications-missing, source-cluster-unsupported,
 *   source-slots-moved, source-data-unsupported, claim-lost, sync-lost after too many passes, and the codes of connections to both sides
 */
export async function runScanSession(world: ScanWorld): Promise<never> {
  world.meter.stage = 'connecting';
  const ended = new AbortController();
  const signal = AbortSignal.any([world.context.signal, ended.signal]);
  try {
    await world.holdTarget?.();
    await using primaries = await openPrimaries(world.target);
    await using sourceClient = await openSourceClient(world);
    const source = sourceClient.access;
    return await syncOver(world, { source, primaries, sourceClient, ended, signal });
  } catch (error) {
    // What a closed connection fails with is not what closed it.
    throw signal.aborted ? signal.reason : error;
  } finally {
    ended.abort(new Error('the session has ended'));
  }
}

type Opened = {
  readonly source: Access;
  readonly primaries: Primaries;
  readonly sourceClient: Client;
  readonly ended: AbortController;
  readonly signal: AbortSignal;
};

async function syncOver(world: ScanWorld, opened: Opened): Promise<never> {
  const { target, context, meter, keyDisplay } = world;
  const { source, primaries, ended, signal } = opened;
  const inspected = await inspectTarget(primaries.home);
  // Of either family: what is written is made in the form of the target.
  const facts = { ...inspected, hasHashFieldTtls: inspected.commands.has('HPEXPIREAT') };
  const { nodes, layout } = await inspectNodes({ ...world, ...opened, facts, targetAddress: target.address });
  if (layout !== '')
    world.sourceNodes.splice(0, Number.POSITIVE_INFINITY, ...nodes.map(({ access }) => access));
  const attention = new Attention();
  const { directory } = context;
  const onOverflow = () => attention.markGap('too many keys were changed at once');
  using dirty = new DirtyKeys({ directory, onOverflow });
  const onKey: Parameters<typeof readEvent>[2] = (db, bytes, start, end) => {
    dirty.add(db, bytes, start, end);
    world.touched.touch(db, bytes, start, end);
    attention.wake();
  };
  // Before anything is read: what changes from now on is told.
  await using subscriptions = new AsyncDisposableStack();
  const events: EventStream[] = [];
  for (const { access, form } of nodes) {
    const stream = await openEventStream(access, {
      patterns: [patternOf(form)],
      onMessage: (message) => readEvent(message, form, onKey),
      signal,
    });
    events.push(subscriptions.use(stream));
    stream.lost.addEventListener('abort', () => ended.abort(stream.lost.reason));
  }
  const mayHaveExtras = await takeTarget(world, { primaries, facts, nodes });
  const skips = new Skips({ directory, keyDisplay, counts: [] });
  meter.skips = skips;
  meter.dirty = dirty;
  await using copying = await openCopier({ ...world, source }, { facts, skips, attention, signal });
  const { copier } = copying;
  const underWay = new Set<TakenKeys>();
  const session = {
    ...world,
    ...opened,
    facts,
    nodes,
    layout,
    events,
    attention,
    dirty,
    copier,
    underWay,
    skips,
  };
  const supervision = await superviseSession(session, ended);
  try {
    return await passAndFollow(session, mayHaveExtras);
  } catch (error) {
    // The first reason stays: what others then fail with follows from it.
    ended.abort(error);
    throw error;
  } finally {
    await supervision.over;
    await leaveClaim(session);
  }
}

async function passAndFollow(session: ScanSession, mayHaveExtras: boolean): Promise<never> {
  const { attention, copies, meter, context, tuning } = session;
  for (let isFirst = true; ; isFirst = false) {
    copies.begin();
    // The settings of a source in cluster mode are left as they are.
    if (session.layout === '') await tuning.beforeCopy();
    await passOver(session, { mayHaveExtras: mayHaveExtras || !isFirst });
    if (attention.gap === undefined) {
      await goLive(session);
      await tuning.atStream();
      await follow(session);
    }
    const reason = attention.gap ?? '';
    copies.reason = reason;
    meter.rescans += 1;
    meter.note(`went over everything again: ${reason}`);
    context.log(`going over everything again: ${reason}`);
  }
}
