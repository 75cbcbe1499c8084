import { systemClock } from '../../src/core/clock.ts';
import { type Attaching, type Attachment, type Contestant, NEVER, POLL_MS } from './contestant.ts';

/** REPLICAOF on the target: what ElastiCache's online migration does. */
export const native: Contestant = { name: 'native', attach };

/** The same without the detour over the target's disk: as fast as the two servers can be. */
export const nativeOnEmptyDb: Contestant = {
  name: 'native-on-empty-db',
  targetConfig: { 'repl-diskless-load': 'on-empty-db' },
  attach,
};

async function attach({ pair: { source, target }, signal }: Attaching): Promise<Attachment> {
  const client = target.client();
  await client.call('REPLICAOF', source.host, source.port);
  const field = async (name: string) =>
    new RegExp(`^${name}:(\\S+)`, 'm').exec(await client.info('replication'))?.[1];
  return {
    toolPid: undefined,
    failed: NEVER,
    copied: async () => {
      while ((await field('master_link_status')) !== 'up') await systemClock.sleep(POLL_MS, signal);
      return Date.now();
    },
    appliedOffset: async () => Number(await field('slave_repl_offset')),
    detach: async () => {
      await client.call('REPLICAOF', 'NO', 'ONE');
    },
    [Symbol.asyncDispose]: async () => client.disconnect(),
  };
}
