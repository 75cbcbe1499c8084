import type { ClientGroup } from '../../contract/reports.ts';
import { type Job, NO_PROGRESS } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import type { Client } from '../redis/client.ts';
import { openPrimaries, type Primaries } from '../redis/cluster/primaries.ts';
import { readServerInfo } from '../redis/server-info.ts';
import { watchAllClients } from './clients.ts';

const LOOK_MS = 500;
/** CLIENT LIST tells whole seconds; who has sent nothing for longer is connected only. */
const IDLE_MAX_S = 1;
const NOTES_MAX = 10;

/**
 * Watches a fenced source for a time: who is still connected, who still sends writes, and how many were refused.
 *
 * @throws the codes of the connection to the source, or the signal's reason
 */
export const runStragglers: Job<'stragglers'> = async ({ source, watchMs }, context) => {
  const { clock, signal } = context;
  const access = await resolveAccess('source', source, context.resolveSecret);
  await using primaries = await openPrimaries(access);
  const refusedBefore = await countAllRefused(primaries);
  const startedAtMs = clock.nowMs();
  const watch = await watchAllClients(primaries, IDLE_MAX_S);
  for (;;) {
    await watch.look();
    const { groups } = watch.list();
    const notes = groups.filter(({ writes }) => writes).slice(0, NOTES_MAX);
    context.report({ ...NO_PROGRESS, stage: 'watching', notes: notes.map(describeClient) });
    const leftMs = startedAtMs + watchMs - clock.nowMs();
    if (leftMs <= 0) break;
    await clock.sleep(Math.min(LOOK_MS, leftMs), signal);
  }
  const refusedAfter = await countAllRefused(primaries);
  const isCounted = refusedBefore !== undefined && refusedAfter !== undefined;
  return {
    kind: 'stragglers',
    watchedMs: clock.nowMs() - startedAtMs,
    ...(isCounted ? { refusedWrites: Math.max(0, refusedAfter - refusedBefore) } : {}),
    clients: watch.list(),
  };
};

/** A straggler in words: where it comes from, who it is, and what it sent last. */
function describeClient({ address, user, name, lastCommand }: ClientGroup): string {
  const who = [user === '' ? '' : ` user ${user}`, name === '' ? '' : ` name ${name}`].join('');
  return `still writes: ${address}${who}, last ${lastCommand}`;
}

async function countAllRefused({ all }: Primaries): Promise<number | undefined> {
  let total = 0;
  for (const client of all) {
    const count = await countRefused(client);
    if (count === undefined) return undefined;
    total += count;
  }
  return total;
}

/** `errorstat_NOREPLICAS:count=3` from Redis 6.2 on; undefined before. */
async function countRefused(client: Client): Promise<number | undefined> {
  const { fields } = await readServerInfo(client);
  if (![...fields.keys()].some((name) => name === 'total_error_replies')) return undefined;
  return ['NOREPLICAS', 'NOPERM'].reduce((sum, name) => {
    const count = /count=(\d+)/.exec(fields.get(`errorstat_${name}`) ?? '')?.[1];
    return sum + Number(count ?? 0);
  }, 0);
}
