import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../random.ts';
import type { AcknowledgedLoad } from './acknowledged-load.ts';
import type { AgentProcess } from './agent-process.ts';
import type { ServedPair } from './served-pair.ts';

/** What a fault may strike. */
export type FaultWorld = {
  readonly source: ServedPair;
  readonly target: ServedPair;
  readonly agent: AgentProcess;
  readonly load: AcknowledgedLoad;
  readonly random: Random;
};

type Fault = (world: FaultWorld) => Promise<void>;

/** What can go wrong, by name. A source that goes down is written to again only when it is back. */
export const FAULTS: ReadonlyMap<string, Fault> = new Map<string, Fault>([
  ['the agent is killed', ({ agent }) => agent.kill()],
  ['the connection to the source is reset', async ({ source }) => source.proxy.reset()],
  ['the connections to the target are reset', async ({ target }) => target.proxy.reset()],
  ['the source drops its replicas', ({ source }) => killClients(source, 'replica')],
  ['the target drops its clients', ({ target }) => killClients(target, 'normal')],
  ['the source is out of reach for a while', ({ source, random }) => cutOff(source, random)],
  ['the target is out of reach for a while', ({ target, random }) => cutOff(target, random)],
  ['the source is frozen for a while', ({ source, random }) => freeze(source, random)],
  ['the target is frozen for a while', ({ target, random }) => freeze(target, random)],
  ['the target is restarted', ({ target }) => target.restart('SIGTERM')],
  ['the target crashes', ({ target }) => target.restart('SIGKILL')],
  ['the target fails over', failOverTarget],
  ['the target fails over and loses its last writes', failOverLaggingTarget],
  ['the source is restarted', restartSource],
  ['the source fails over', failOverSource],
  ['the source fails over and loses its last writes', failOverLaggingSource],
]);

const OUTAGE_MS_MAX = 1_500;
const LAG_MS_MAX = 400;

async function killClients({ primary }: ServedPair, type: string): Promise<void> {
  await primary.client().call('CLIENT', 'KILL', 'TYPE', type);
}

async function cutOff({ proxy, primary }: ServedPair, random: Random): Promise<void> {
  proxy.refuse();
  await sleep(random.below(OUTAGE_MS_MAX));
  proxy.leadTo(primary.port);
}

async function freeze({ primary }: ServedPair, random: Random): Promise<void> {
  process.kill(primary.pid, 'SIGSTOP');
  await sleep(random.below(OUTAGE_MS_MAX));
  process.kill(primary.pid, 'SIGCONT');
}

async function failOverTarget({ target, random }: FaultWorld): Promise<void> {
  await target.failOver({ isCrash: random.below(2) === 0 });
}

/** The standby stands still while the target goes on, so that it has not all of it when it takes over. */
async function failOverLaggingTarget({ target, random }: FaultWorld): Promise<void> {
  await target.standbyFollows();
  const { pid } = target.standby;
  process.kill(pid, 'SIGSTOP');
  await sleep(random.below(LAG_MS_MAX));
  process.kill(target.primary.pid, 'SIGKILL');
  process.kill(pid, 'SIGCONT');
  await target.failOver({ isCrash: true });
}

async function restartSource({ source, load }: FaultWorld): Promise<void> {
  await load.pause();
  await source.save();
  await source.restart('SIGTERM');
  load.resume();
}

async function failOverSource({ source, load, random }: FaultWorld): Promise<void> {
  await load.pause();
  await source.standbyCaughtUp();
  await source.failOver({ isCrash: random.below(2) === 0 });
  load.resume();
}

/** What the source has lost by itself, the target must lose too. */
async function failOverLaggingSource({ source, load, random }: FaultWorld): Promise<void> {
  await source.standbyFollows();
  const { pid } = source.standby;
  process.kill(pid, 'SIGSTOP');
  await sleep(random.below(LAG_MS_MAX));
  await load.pause();
  process.kill(source.primary.pid, 'SIGKILL');
  process.kill(pid, 'SIGCONT');
  await source.failOver({ isCrash: true });
  await load.rebase(source.primary);
  load.resume();
}
