import { formatCount } from '../../../core/units.ts';
import { SHARD_PAIRS_MAX, SOURCE_SHARDS_MAX } from '../../redis/cluster/source-cluster.ts';
import type { ClusterFacts } from '../primaries-facts.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { SourceFacts } from '../source-facts.ts';
import type { TargetServerFacts } from '../target-facts.ts';
import type { Pair } from './pair-rules.ts';

/** What is asked of the target alone because it is a cluster, or because it is none. */
export const CLUSTER_TARGET_RULES: readonly ((target: TargetServerFacts) => Ruling | undefined)[] = [
  judgeClusterMode,
  judgeNativeClusterMode,
  judgeMovingSlots,
];
/** What is asked of the source alone because it is a cluster, or because it is none. */
export const CLUSTER_SOURCE_RULES: readonly ((source: SourceFacts) => Ruling | undefined)[] = [
  judgeSourceClusterMode,
  judgeSourceClusterRoutes,
  judgeSourceSlots,
];
/** What a source does that a cluster does otherwise; undefined for a standalone target. */
export const CLUSTER_PAIR_RULES: readonly ((pair: Pair) => Ruling | undefined)[] = [
  judgeStreams,
  judgeMultiKeyCommands,
  judgeDatabaseCommands,
];

const PRIMARIES_SHOWN_MAX = 10;
const COMMANDS_SHOWN_MAX = 10;

function judgeClusterMode({ cluster }: TargetServerFacts): Ruling {
  const title = 'Target cluster mode';
  if (cluster === undefined) return pass('target-standalone', { title, detail: 'Cluster mode is disabled.' });
  return pass('target-cluster', { title, detail: describePrimaries(cluster) });
}

function judgeSourceClusterMode({ cluster }: SourceFacts): Ruling {
  const title = 'Source cluster mode';
  if (cluster === undefined) return pass('source-standalone', { title, detail: 'It is standalone.' });
  return pass('source-cluster', { title, detail: describePrimaries(cluster) });
}

/** A sync follows each primary by itself, which ElastiCache does not. */
function judgeSourceClusterRoutes({ cluster }: SourceFacts): Ruling | undefined {
  if (cluster === undefined) return undefined;
  const title = 'Routes of a source in cluster mode';
  const { length } = cluster.primaries;
  if (length > SOURCE_SHARDS_MAX) {
    const detail = `It has ${length} primaries; at most ${SOURCE_SHARDS_MAX} are served.`;
    return block('source-cluster-unsupported', { title, detail });
  }
  return block('source-cluster-unsupported', {
    title,
    detail: 'Only the routes replica and scan follow a cluster.',
    remedy: 'Use `route: replica`, or `route: scan` where the source refuses PSYNC.',
    routes: ['native'],
  });
}

function judgeSourceSlots({ cluster }: SourceFacts): Ruling | undefined {
  if (cluster === undefined) return undefined;
  const title = 'Slots of the source';
  if (!cluster.isChanging) return pass('source-slots', { title, detail: 'None is being moved.' });
  return block('source-slots-moved', {
    title,
    detail: 'Slots are being moved between its primaries: a sync does not begin meanwhile.',
    routes: ['replica', 'scan'],
  });
}

function judgeStreams({ source, target }: Pair): Ruling | undefined {
  const shards = source.cluster?.primaries.length;
  const primaries = target.cluster?.primaries.length ?? 1;
  if (shards === undefined || shards * primaries <= SHARD_PAIRS_MAX) return undefined;
  return block('source-cluster-unsupported', {
    title: 'Primaries of both sides',
    detail: `Each of ${shards} primaries of the source would be followed to each of ${primaries} of the target; at most ${SHARD_PAIRS_MAX} such pairs are served.`,
    remedy: 'Choose a target with fewer shards.',
    routes: ['replica'],
  });
}

function describePrimaries({ primaries }: ClusterFacts): string {
  const shown = primaries
    .slice(0, PRIMARIES_SHOWN_MAX)
    .map(({ address, latencyMs }) => `${address} (PING ${latencyMs.toFixed(2)} ms)`);
  const more = primaries.length > shown.length ? `, and ${primaries.length - shown.length} more` : '';
  return `Every slot is served, by ${primaries.length} primaries: ${shown.join(', ')}${more}.`;
}

/** ElastiCache fills a cluster only from a cluster of as many shards, and the route does not serve one. */
function judgeNativeClusterMode({ cluster }: TargetServerFacts): Ruling | undefined {
  if (cluster === undefined) return undefined;
  return block('replication-group-unsuitable', {
    title: 'Cluster mode of the target',
    detail: 'Cluster mode is enabled, and ElastiCache migrates into a cluster only from a cluster.',
    remedy: 'Choose a replication group with cluster mode disabled, or use `route: replica`.',
    routes: ['native'],
  });
}

function judgeMovingSlots({ cluster }: TargetServerFacts): Ruling | undefined {
  if (cluster === undefined) return undefined;
  const title = 'Slots of the target';
  if (!cluster.isChanging) return pass('target-slots', { title, detail: 'None is being moved.' });
  return warn('target-slots-moving', {
    title,
    detail: 'Slots are being moved between its nodes: no verification or cutover succeeds meanwhile.',
    remedy: 'Wait until the resharding is over.',
  });
}

/** Commands that take, or may take, several keys, by their name in INFO commandstats. */
const MULTI_KEY_COMMANDS = [
  ...['mget', 'mset', 'msetnx', 'msetex', 'rename', 'renamenx', 'copy'],
  ...['blpop', 'brpop', 'rpoplpush', 'brpoplpush', 'lmove', 'blmove', 'lmpop', 'blmpop'],
  ...['smove', 'sunion', 'sinter', 'sdiff', 'sintercard', 'sunionstore', 'sinterstore', 'sdiffstore'],
  ...['zunion', 'zinter', 'zdiff', 'zintercard', 'zunionstore', 'zinterstore', 'zdiffstore'],
  ...['zrangestore', 'zmpop', 'bzmpop', 'bzpopmin', 'bzpopmax'],
  ...['bitop', 'pfmerge', 'lcs', 'geosearchstore', 'exec', 'eval', 'evalsha', 'fcall'],
];

/** What a cluster has no place for, whatever the keys. */
const DATABASE_COMMANDS = ['swapdb', 'move'];

function judgeMultiKeyCommands({ source, target }: Pair): Ruling | undefined {
  // What a cluster has done lies in one slot, at the target too.
  if (target.cluster === undefined || source.cluster !== undefined) return undefined;
  const title = 'Commands of several keys';
  const used = usedOf(source, MULTI_KEY_COMMANDS);
  if (used === undefined) return unknownUse(title);
  if (used.length === 0) return pass('multi-key-none', { title, detail: 'The source has run none.' });
  return warn('multi-key-commands', {
    title,
    detail: `The source has run ${describe(used)}. What it does with keys of several slots the sync carries out at the target as well, some hundred times a second at most, and a transaction in parts, one for each primary; an application that sends it to the cluster gets CROSSSLOT.`,
    remedy:
      'Give keys that are used together a common hash tag, and use a client that knows clusters, before complete-migration.',
  });
}

function judgeDatabaseCommands({ source, target }: Pair): Ruling | undefined {
  if (target.cluster === undefined || source.cluster !== undefined) return undefined;
  const used = usedOf(source, DATABASE_COMMANDS);
  if (used === undefined || used.length === 0) return undefined;
  return warn('database-commands', {
    title: 'Commands of several databases',
    detail: `The source has run ${describe(used)}, which a cluster does not have: the sync ends with an error where it comes again.`,
    remedy: 'Keep applications from using it, or choose a replication group with cluster mode disabled.',
  });
}

/** A command, and how often it has run since the statistics began. */
type Use = { readonly name: string; readonly calls: number };

/** Which of the commands have run, the most frequent first; undefined where INFO has no statistics. */
function usedOf({ info }: SourceFacts, names: readonly string[]): readonly Use[] | undefined {
  const known = [...info.fields.keys()].some((field) => field.startsWith('cmdstat_'));
  if (!known) return undefined;
  const used = names.flatMap((name) => {
    // `cmdstat_mset:calls=3,usec=12,...`
    const calls = Number(/^calls=(\d+)/.exec(info.fields.get(`cmdstat_${name}`) ?? '')?.[1] ?? 0);
    return calls === 0 ? [] : [{ name: name.toUpperCase(), calls }];
  });
  return used.sort((a, b) => b.calls - a.calls);
}

function describe(used: readonly Use[]): string {
  const shown = used.slice(0, COMMANDS_SHOWN_MAX).map(({ name, calls }) => `${name} (${formatCount(calls)})`);
  return [...shown, ...(used.length > shown.length ? ['others'] : [])].join(', ');
}

function unknownUse(title: string): Ruling {
  return warn('multi-key-unknown', {
    title,
    detail: 'The source keeps no statistics of its commands.',
    remedy:
      'Make sure that the applications use no keys of several slots together, or give them a common hash tag.',
  });
}
