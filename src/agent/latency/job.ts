import type { LatencyReport } from '../../contract/reports.ts';
import { type Job, NO_PROGRESS } from '../job/context.ts';
import { measureRequests } from '../preflight/latency.ts';
import { type TaggedPrimary, tagPrimaries } from '../preflight/primaries-facts.ts';
import { resolveAccess } from '../redis/access.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';

/** Of each kind to each primary: enough for a p99 that a few slow answers do not make. */
const REQUESTS = 500;
/** For all primaries together. */
const BUDGET_MS = 4000;

/**
 * Measures the round-trip times of PING, and of GET of a key that is not there, from the host to the server or to every
 * primary of a cluster; no key of anybody is read.
 *
 * @throws the codes of the connection to the target, and the signal's reason
 */
export const runLatency: Job<'latency'> = async ({ target }, context) => {
  const access = await resolveAccess('target', target, context.resolveSecret);
  await using opened = await openPrimaries(access);
  const tagged = tagPrimaries(opened);
  const { clock, signal } = context;
  const bounds = { count: REQUESTS, budgetMs: BUDGET_MS / (2 * tagged.length), clock, signal };
  const primaries: LatencyReport['primaries'] = [];
  for (const primary of tagged) {
    const { client } = primary;
    context.report({
      ...NO_PROGRESS,
      stage: 'measuring',
      percent: (100 * primaries.length) / tagged.length,
    });
    primaries.push({
      address: opened.topology === undefined ? access.address : client.access.address,
      pings: await measureRequests(() => client.call('PING'), bounds),
      reads: await measureRequests(() => client.call('GET', absentKey(primary)), bounds),
    });
  }
  return { kind: 'latency', primaries };
};

/** Nobody writes keys of this beginning but us, and we never write this one. */
function absentKey({ tag }: TaggedPrimary): string {
  return `__valkey-migrate-latency__${tag}`;
}
