import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { compareDumps, readTypedDump } from '../agent/sync/typed-dump.ts';
import { makeRandom, type Random } from '../random.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { compareVersions, type ServerBinary } from '../servers/server-binary.ts';
import type { RunningServer } from '../servers/start.ts';
import { countWritten, startAcknowledgedLoad } from './acknowledged-load.ts';
import { startAgentProcess } from './agent-process.ts';
import { FAULTS, type FaultWorld } from './fault-table.ts';
import { startServedPair } from './served-pair.ts';

/** What is run: so many faults, chosen by the seed out of those whose name begins with `only`. */
export type FaultRun = {
  readonly source: ServerBinary;
  readonly target: ServerBinary;
  readonly faults: number;
  readonly seed: number;
  readonly only?: string;
};

/** How a run went; it throws when anything was lost or doubled. */
export type FaultReport = {
  /** The faults, in order. */
  readonly struck: readonly string[];
  /** How the agent had ended by itself, so that it had to be started again. */
  readonly ownEnds: readonly string[];
};

const KEYS = 400;
const PAUSE_MS_MAX = 500;
/** One fault in so many is followed by another before anything has recovered. */
const DOUBLE_EVERY = 4;
const CAUGHT_UP_LIMIT_MS = 60_000;
const POLL_MS = 25;
/** What expires between the looks at both sides is different once: the last look is long after the last expiry. */
const LOOKS_MAX = 20;
const LOOK_PAUSE_MS = 100;
const DIFFERENCES_SHOWN = 10;

const claimSchema = z.object({
  state: z.string(),
  checkpoint: z.object({ replid: z.string(), offset: z.number() }).optional(),
});

/** Syncs under load while one fault after the other strikes, and compares both sides after each. */
export async function runFaults(run: FaultRun, print: (line: string) => void): Promise<FaultReport> {
  const random = makeRandom(run.seed);
  // With an AOF a target keeps all it has acknowledged; without one it comes back as it was saved last.
  const isPersistent = random.below(2) === 0;
  await using source = await startServedPair(run.source, sourceConfig(run.source));
  await using target = await startServedPair(run.target, { appendonly: isPersistent ? 'yes' : 'no' });
  await loadDataSet(source.primary.client(), { keys: KEYS, seed: run.seed });
  await using agent = await startAgentProcess({ source: source.proxy.port, target: target.proxy.port });
  await using load = startAcknowledgedLoad(() => source.primary);
  const world = { source, target, agent, load, random };
  const struck: string[] = [];
  const names = [...FAULTS.keys()].filter((name) => name.startsWith(run.only ?? ''));
  print(`seed ${run.seed}: a target ${isPersistent ? 'with' : 'without'} an AOF`);
  for (let fault = 1; fault <= run.faults; fault++) {
    const now: string[] = [];
    try {
      await sleep(random.below(PAUSE_MS_MAX));
      for (const name of chooseFaults(names, random)) {
        now.push(name);
        await FAULTS.get(name)?.(world);
      }
      struck.push(...now);
      await sleep(random.below(PAUSE_MS_MAX));
      await expectNothingLost(world);
      if (!isPersistent) await target.save();
    } catch (error) {
      const log = (await agent.log()).split('\n').slice(-25).join('\n');
      throw new Error(`The fault ${fault} (${now.join(', ')}) of the seed ${run.seed}: ${error}\n${log}`, {
        cause: error,
      });
    }
    print(`${fault}/${run.faults} ${now.join(', then ')}`);
  }
  return { struck, ownEnds: agent.ownEnds };
}

function chooseFaults(names: readonly string[], random: Random): string[] {
  const chosen = [random.pick(names)];
  if (random.below(DOUBLE_EVERY) === 0) chosen.push(random.pick(names));
  return chosen;
}

async function expectNothingLost({ source, target, load, agent }: FaultWorld): Promise<void> {
  await load.pause();
  await caughtUp(source.primary, target.primary, agent);
  const { acknowledged } = load;
  const [atSource, atTarget] = [await countWritten(source.primary), await countWritten(target.primary)];
  for (const [place, found] of Object.entries({ source: atSource, target: atTarget })) {
    if (JSON.stringify(found) === JSON.stringify(acknowledged)) continue;
    throw new Error(
      `the ${place} holds ${JSON.stringify(found)} of ${JSON.stringify(acknowledged)} acknowledged`,
    );
  }
  await expectEqual(source.primary, target.primary, agent);
  await load.clear();
  load.resume();
}

/** Resolves when the target has committed everything that the source has sent. */
async function caughtUp(
  source: RunningServer,
  target: RunningServer,
  agent: FaultWorld['agent'],
): Promise<void> {
  const deadline = Date.now() + CAUGHT_UP_LIMIT_MS;
  const info = await source.client().info('replication');
  const replid = /^master_replid:(\w+)/m.exec(info)?.[1];
  const offset = Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
  const reader = target.client();
  let claim: unknown;
  while (Date.now() < deadline) {
    claim = JSON.parse((await reader.get('__valkey-migrate__')) ?? 'null');
    const { success, data } = claimSchema.safeParse(claim);
    const isCommitted = success && data.state === 'live' && data.checkpoint?.replid === replid;
    if (isCommitted && (data?.checkpoint?.offset ?? 0) >= offset) {
      reader.disconnect();
      return;
    }
    await sleep(POLL_MS);
  }
  throw new Error(
    `not caught up in ${CAUGHT_UP_LIMIT_MS} ms: ${JSON.stringify(claim)} for ${replid} ${offset}; ended: ${agent.ownEnds.join()}`,
  );
}

async function expectEqual(
  source: RunningServer,
  target: RunningServer,
  agent: FaultWorld['agent'],
): Promise<void> {
  const isOld = source.server.kind === 'redis' && compareVersions(source.server.version, '7.0') < 0;
  const isReadCounted = source.server.kind === 'redis' && compareVersions(source.server.version, '7.4') >= 0;
  const options = { isStreamCounted: !isOld, isReadCounted };
  let differences: string[] = [];
  for (let attempt = 1; attempt <= LOOKS_MAX; attempt++) {
    const atSource = await readTypedDump(source.client(), options);
    // Reading has removed what had expired at the source: the target must have been told so.
    await caughtUp(source, target, agent);
    differences = compareDumps(atSource, await readTypedDump(target.client(), options));
    if (differences.length === 0) return;
    await sleep(LOOK_PAUSE_MS);
  }
  const claim = await target.client().get('__valkey-migrate__');
  const offset = /^master_repl_offset:(\d+)/m.exec(await source.client().info('replication'))?.[1];
  const shown = differences.slice(0, DIFFERENCES_SHOWN).join('; ');
  throw new Error(`${differences.length} differences at ${offset}, claimed ${claim}: ${shown}`);
}

function sourceConfig({ kind, version }: ServerBinary): Record<string, string> {
  const knowsKeyDelay = kind === 'valkey' || compareVersions(version, '6.0') >= 0;
  return {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '64mb',
    // Microseconds: a copy lasts long enough to be struck.
    ...(knowsKeyDelay ? { 'rdb-key-save-delay': '200' } : {}),
  };
}
