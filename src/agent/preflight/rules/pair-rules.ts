import type { JobRequestOf } from '../../../contract/jobs.ts';
import { formatBytes, formatCount } from '../../../core/units.ts';
import { isVersionAtLeast } from '../../redis/server-info.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { SourceFacts } from '../source-facts.ts';
import type { TargetServerFacts } from '../target-facts.ts';
import { CLUSTER_PAIR_RULES } from './cluster-rules.ts';
import { judgeRdbVersion } from './native-rules.ts';

/** Both servers, and what was asked. */
export type Pair = {
  readonly source: SourceFacts;
  readonly target: TargetServerFacts;
  readonly request: JobRequestOf<'preflight'>;
};

/** What depends on both servers. */
export const PAIR_RULES: readonly ((pair: Pair) => Ruling | undefined)[] = [
  judgeDistinct,
  ({ source, target, request }) => judgeRdbVersion(source, target, request),
  judgeMemory,
  judgeDatabases,
  judgeHashFieldExpiry,
  judgeNativeHashFieldExpiry,
  ...CLUSTER_PAIR_RULES,
];

/** Above this share of the target's memory there is little room for overhead and growth. */
const MEMORY_WARN_SHARE = 0.8;

function judgeDistinct({ source, target }: Pair): Ruling | undefined {
  const runId = source.info.fields.get('run_id');
  if (runId === undefined || runId !== target.info.fields.get('run_id')) return undefined;
  return block('input-contradictory', {
    title: 'Two servers',
    detail: `${source.server.address} and ${target.server.address} are the same server.`,
    remedy: 'Give the source as `source-endpoint`; the target is the replication group.',
  });
}

function judgeMemory({ source, target }: Pair): Ruling {
  const title = 'Memory of the target';
  const used = source.server.usedMemoryBytes;
  const available = target.server.maxMemoryBytes;
  if (available === 0) return pass('target-memory', { title, detail: 'It has no maxmemory.' });
  const detail = `The source uses ${formatBytes(used)}, the target has ${formatBytes(available)}.`;
  if (used > available) return block('target-memory-too-small', { title, detail });
  if (used <= available * MEMORY_WARN_SHARE) return pass('target-memory', { title, detail });
  return warn('target-memory-close', {
    title,
    detail: `${detail} That is ${Math.round((100 * used) / available)} %.`,
    remedy: 'Choose a larger node type, so that the data can grow.',
  });
}

function judgeDatabases({ source, target, request }: Pair): Ruling {
  const title = 'Databases';
  const numbers = source.databases.map(({ db }) => db);
  const highest = Math.max(0, ...numbers);
  const used = numbers.length === 0 ? 'none' : numbers.join(', ');
  if (target.cluster !== undefined && highest > 0) {
    return block('target-databases-too-few', {
      title,
      detail: `The source uses the databases ${used}; the target is in cluster mode, where a sync writes database 0 only.`,
      remedy: 'Move the keys into database 0, or choose a replication group with cluster mode disabled.',
    });
  }
  const count = target.cluster === undefined ? request.targetFacts?.databases : undefined;
  if (count !== undefined && highest >= count) {
    const detail = `The source uses the databases ${used}; the target has 0 to ${count - 1}.`;
    return block('target-databases-too-few', { title, detail });
  }
  if (target.selectRefusal !== undefined) {
    const detail = `The source uses the databases ${used}; the target refused SELECT ${highest}: ${target.selectRefusal}`;
    return block('target-databases-too-few', { title, detail });
  }
  return pass('databases', { title, detail: `The source uses the databases ${used}; the target has them.` });
}

/** Redis has times to live of hash fields from 7.4 on, Valkey from 9.0 on. */
function judgeHashFieldExpiry(pair: Pair): Ruling | undefined {
  const title = 'Hash fields that expire';
  const { source, target, request } = pair;
  const { kind, version } = source.server;
  const isKnownToSource =
    kind === 'redis' ? isVersionAtLeast(version, 7, 4) : isVersionAtLeast(version, 9, 0);
  if (!isKnownToSource) return undefined;
  const { counts, hashes, isKnownToTarget } = fieldExpiriesOf(pair);
  const found = `${formatCount(hashes)} hashes of the source have fields that expire`;
  if (hashes > 0) {
    if (isKnownToTarget)
      return pass('hash-field-expiry', { title, detail: `${found}; the target has that too.` });
    const detail = `${found}, and ${target.server.kind} ${target.server.version} has no such thing.`;
    if (request.hashFieldTtl === 'keep-values') {
      return warn('hash-field-expiry-dropped', {
        title,
        detail: `${detail} They are copied without it, as the input \`hash-field-ttl\` says, and listed.`,
        remedy: 'Let the applications delete such fields themselves after the cutover, or choose Valkey 9.',
      });
    }
    return block('source-data-unsupported', {
      title,
      detail,
      remedy:
        'Choose Valkey 9 for the target, or take the expiry off the fields (HPERSIST), or give `hash-field-ttl: keep-values` to go on without it.',
    });
  }
  if (isKnownToTarget || !counts.includes(undefined)) {
    return pass('hash-field-expiry', { title, detail: 'The source has none.' });
  }
  return warn('hash-field-expiry-unknown', {
    title,
    detail: 'The source does not say whether it has any, and the target cannot hold them.',
    remedy: 'Make sure that no client uses HEXPIRE or its kin.',
  });
}

/** ElastiCache's own migration has no way to leave them out. */
function judgeNativeHashFieldExpiry(pair: Pair): Ruling | undefined {
  const { hashes, isKnownToTarget } = fieldExpiriesOf(pair);
  if (pair.request.hashFieldTtl !== 'keep-values' || hashes === 0 || isKnownToTarget) return undefined;
  return block('source-data-unsupported', {
    title: 'Hash fields that expire, for the target to load',
    detail: 'The target cannot load hashes of which fields expire.',
    routes: ['native'],
    remedy: 'Use `route: replica`, or choose Valkey 9 for the target.',
  });
}

function fieldExpiriesOf({ source, target }: Pair) {
  const counts = source.databases.map(({ fieldExpiries }) => fieldExpiries);
  const hashes = counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
  const isKnownToTarget = target.server.kind === 'valkey' && isVersionAtLeast(target.server.version, 9, 0);
  return { counts, hashes, isKnownToTarget };
}
