import type { Route } from '../../../contract/finding.ts';
import { formatBytes, formatCount } from '../../../core/units.ts';
import { areScriptsUsed } from '../../cutover/fence.ts';
import { isVersionAtLeast } from '../../redis/server-info.ts';
import { rdbVersionOf } from '../rdb-version.ts';
import { block, EVERY_ROUTE, pass, type Ruling, warn } from '../ruling.ts';
import type { SourceFacts } from '../source-facts.ts';
import { judgeLatency } from './latency-rule.ts';

type SourceRule = (source: SourceFacts) => Ruling;

/** Everything that only the source is asked about, in the order of the report. */
export const SOURCE_RULES: readonly SourceRule[] = [
  judgeVersion,
  judgeRole,
  judgeClusterMode,
  judgeReplication,
  judgeFence,
  judgeModules,
  judgeExpiringKeys,
  ({ server }) => judgeLatency('source', server.latencyMs),
];

/** Modules that are part of every Redis 8 and Valkey 9, so that their presence says nothing. */
const BUILT_IN_MODULES = new Set(['vectorset', 'lua']);

/** The newest Redis whose formats are known here. */
const NEWEST_KNOWN = { major: 8, minor: 4 };

function judgeVersion({ server }: SourceFacts): Ruling {
  const { kind, version } = server;
  const title = 'Source version';
  const detail = `${kind} ${version}, which writes RDB version ${rdbVersionOf(server)}.`;
  if (kind === 'redis' && !isVersionAtLeast(version, 5, 0)) {
    return block('source-version-unsupported', { title, detail });
  }
  if (kind === 'redis' && isVersionAtLeast(version, NEWEST_KNOWN.major, NEWEST_KNOWN.minor + 1)) {
    return warn('source-version-untried', {
      title,
      detail: `${kind} ${version} is newer than what has been tried.`,
      remedy: 'Try the migration on a copy first: data of a new kind is refused, not guessed.',
    });
  }
  return pass('source-version', { title, detail });
}

function judgeRole({ server, info }: SourceFacts): Ruling {
  const title = 'Source role';
  if (server.role === 'master') return pass('source-role', { title, detail: 'It is a master.' });
  const master = `${info.fields.get('master_host') ?? '?'}:${info.fields.get('master_port') ?? '?'}`;
  const link = info.fields.get('master_link_status') ?? 'unknown';
  return warn('source-is-replica', {
    title,
    detail: `It is a replica of ${master} (link ${link}): writes reach it from there, and cannot be fenced here.`,
    remedy: `Give ${master} as the source before the cutover.`,
  });
}

function judgeClusterMode({ info }: SourceFacts): Ruling {
  const title = 'Source cluster mode';
  return info.fields.get('cluster_enabled') === '1'
    ? block('source-cluster-unsupported', { title, detail: 'It is a node of a cluster.' })
    : pass('source-standalone', { title, detail: 'It is standalone.' });
}

function judgeReplication({ replication, passwordGiven }: SourceFacts): Ruling {
  const title = 'PSYNC at the source';
  if (replication.state === 'allowed') {
    return pass('replication-allowed', { title, detail: 'PSYNC and REPLCONF are allowed.' });
  }
  if (replication.state === 'denied') {
    // ElastiCache replicates as the default user, as we do where there is no password: what is denied to us is to it.
    const routes: readonly Route[] = passwordGiven ? ['replica'] : EVERY_ROUTE;
    return block('route-replica-denied', { title, detail: replication.detail, routes });
  }
  return warn('replication-unknown', {
    title,
    detail: `Whether PSYNC is allowed could not be found out: ${replication.detail}`,
    remedy: 'Make sure that the user has +psync +replconf +ping.',
  });
}

function judgeFence({ fence, info }: SourceFacts): Ruling {
  const title = 'Write fence at the source';
  if (fence.state === 'denied') {
    return warn('fence-denied', {
      title,
      detail: `The cutover could not fence writes: ${fence.detail}`,
      remedy:
        'Allow the user `+config|get +config|set +client|pause +client|unpause` before complete-migration.',
    });
  }
  if (!isVersionAtLeast(info.version, 6, 2) && areScriptsUsed(info)) {
    return warn('fence-leaks-scripts', {
      title,
      detail: `Scripts are used, and those of ${info.kind} ${info.version} may write in spite of the fence; then the cutover is refused.`,
      remedy: 'Stop the clients that run scripts before complete-migration, and run CONFIG RESETSTAT.',
    });
  }
  const detail =
    fence.state === 'allowed' ? 'The settings it needs may be changed.' : 'Its settings can be read.';
  return pass('fence-possible', { title, detail });
}

function judgeModules({ modules, sample }: SourceFacts): Ruling {
  const title = 'Modules at the source';
  const looked = `a sample of ${formatCount(sample.keys)} keys`;
  if (sample.moduleTypes.length > 0) {
    return block('source-modules-unsupported', {
      title,
      detail: `There are keys of the types ${sample.moduleTypes.join(', ')} in ${looked}.`,
    });
  }
  if (modules === undefined) {
    return warn('modules-unknown', {
      title,
      detail: `MODULE LIST is denied; there is no data of modules in ${looked}.`,
      remedy: 'Make sure that no module holds data.',
    });
  }
  const loaded = modules.filter((name) => !BUILT_IN_MODULES.has(name));
  if (loaded.length === 0) {
    return pass('modules-none', {
      title,
      detail: `None is loaded, and there is no data of any in ${looked}.`,
    });
  }
  return warn('modules-loaded', {
    title,
    detail: `Loaded: ${loaded.join(', ')}; there is no data of theirs in ${looked}.`,
    remedy: 'Make sure that none of them holds data: the copy ends with an error where one does.',
  });
}

function judgeExpiringKeys({ databases, info }: SourceFacts): Ruling {
  const keys = databases.reduce((sum, database) => sum + database.keys, 0);
  const expires = databases.reduce((sum, database) => sum + database.expires, 0);
  const used = formatBytes(Number(info.fields.get('used_memory') ?? 0));
  return pass('source-keys', {
    title: 'Data at the source',
    detail: `${formatCount(keys)} keys in ${databases.length} databases, ${formatCount(expires)} of them expiring; ${used} of memory.`,
  });
}
