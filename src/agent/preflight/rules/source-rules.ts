import type { Route } from '../../../contract/finding.ts';
import { formatBytes, formatCount } from '../../../core/units.ts';
import { areScriptsUsed } from '../../cutover/fence-by-replicas.ts';
import { isSourceServed, isVersionAtLeast } from '../../redis/server-info.ts';
import { rdbVersionOf } from '../rdb-version.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { SourceFacts } from '../source-facts.ts';
import { CLUSTER_SOURCE_RULES } from './cluster-rules.ts';
import { judgeLatency } from './latency-rule.ts';

type SourceRule = (source: SourceFacts) => Ruling | undefined;

/** Everything that only the source is asked about, in the order of the report. */
export const SOURCE_RULES: readonly SourceRule[] = [
  judgeVersion,
  judgeRole,
  ...CLUSTER_SOURCE_RULES,
  judgeReplication,
  judgeFence,
  judgeModules,
  judgeExpiringKeys,
  ({ server }) => judgeLatency('source', server.latencyMs),
];

/** Modules that are part of every Redis 8 and Valkey 9, so that their presence says nothing. */
const BUILT_IN_MODULES = new Set(['vectorset', 'lua']);

function judgeVersion({ server }: SourceFacts): Ruling {
  const { kind, version } = server;
  const title = 'Source version';
  const detail = `${kind} ${version}, which writes RDB version ${rdbVersionOf(server)}.`;
  if (!isSourceServed(server)) {
    const why = isVersionAtLeast(version, 5, 0) ? 'newer than what is known here' : 'too old';
    return block('source-version-unsupported', { title, detail: `${kind} ${version} is ${why}.` });
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

function judgeReplication({ replication, passwordGiven }: SourceFacts): Ruling {
  const title = 'PSYNC at the source';
  if (replication.state === 'allowed') {
    return pass('replication-allowed', { title, detail: 'PSYNC and REPLCONF are allowed.' });
  }
  if (replication.state === 'denied') {
    // ElastiCache replicates as the default user, as we do where there is no password: what is denied to us is to it.
    const routes: readonly Route[] = passwordGiven ? ['replica'] : ['native', 'replica'];
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
      detail: `Writes cannot be fenced by min-replicas-to-write (${fence.detail}); the cutover tries ACL SETUSER and CLIENT PAUSE instead.`,
      remedy:
        'Allow the user `+config|get +config|set +client|pause +client|unpause`, or `+acl|users +acl|getuser +acl|setuser`, before complete-migration.',
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

function judgeModules(source: SourceFacts): Ruling {
  const { modules, sample } = source;
  const title = 'Modules at the source';
  const looked = `a sample of ${formatCount(sample.keys)} keys`;
  if (sample.moduleTypes.length > 0) {
    return warn('modules-skipped', {
      title,
      detail: `There are keys that no other server can take, in ${looked}: ${describeModuleTypes(source)}. The route replica leaves them out and lists them.`,
      remedy:
        'Move them by other means. The cutover then refuses to hand over without them unless `allow-skipped` is true.',
    });
  }
  if (modules === undefined) {
    return warn('modules-unknown', {
      title,
      detail: `MODULE LIST is denied; there is no data of modules in ${looked}.`,
      remedy: 'What modules hold is left out of the copy and listed.',
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
    remedy: 'What they hold is left out of the copy and listed; nothing else is affected.',
  });
}

/** `12 of vectorset, 3 of TSDB-TYPE`, the most frequent first. */
export function describeModuleTypes({ sample }: Pick<SourceFacts, 'sample'>): string {
  const types = [...sample.moduleTypes].sort((a, b) => b.keys - a.keys);
  const shown = types
    .slice(0, MODULE_TYPES_SHOWN_MAX)
    .map(({ type, keys }) => `${formatCount(keys)} of ${type}`);
  return [...shown, ...(types.length > shown.length ? ['others'] : [])].join(', ');
}

const MODULE_TYPES_SHOWN_MAX = 10;

function judgeExpiringKeys({ databases, info }: SourceFacts): Ruling {
  const keys = databases.reduce((sum, database) => sum + database.keys, 0);
  const expires = databases.reduce((sum, database) => sum + database.expires, 0);
  const used = formatBytes(Number(info.fields.get('used_memory') ?? 0));
  return pass('source-keys', {
    title: 'Data at the source',
    detail: `${formatCount(keys)} keys in ${databases.length} databases, ${formatCount(expires)} of them expiring; ${used} of memory.`,
  });
}
