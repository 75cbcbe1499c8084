import { isVersionAtLeast } from '../../redis/server-info.ts';
import {
  describeMissing,
  NOTIFY_NEEDED,
  NOTIFY_SETTING,
  readNotifications,
} from '../../scan/notifications.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { Pair } from './pair-rules.ts';

/** Whether a way back can be kept after the cutover: what is not possible is to be known before. */
export const WAY_BACK_RULES: readonly ((pair: Pair) => Ruling | undefined)[] = [
  judgeOldServer,
  judgeFence,
  judgeClusterMode,
  judgeNotifications,
  judgePermissions,
  judgeHashFields,
  judgeEviction,
];

/** Older ones take neither the commands nor the forms that are written. */
function judgeOldServer({ source: { server } }: Pair): Ruling {
  const title = 'Way back: version of the source';
  const detail = `It is ${server.kind} ${server.version}.`;
  if (server.kind === 'valkey' || isVersionAtLeast(server.version, 7, 0)) {
    return pass('way-back-version', { title, detail });
  }
  return block('way-back-impossible', {
    title,
    detail: `${detail} A way back can write to Redis 7.0 and later.`,
    remedy: 'Migrate without `reverse`, or update the source first.',
  });
}

/** Of the fences only that by ACL tells users apart. */
function judgeFence({ source: { aclFence } }: Pair): Ruling | undefined {
  if (aclFence === undefined) return undefined;
  const title = 'Way back: fence at the source';
  const remedy =
    'Allow the user at the source `+acl|whoami +acl|users +acl|getuser +acl|setuser +acl|deluser`: after the cutover the source is fenced by ACL for everybody but a user of the way back.';
  const { state } = aclFence;
  if (state === 'allowed') {
    return pass('way-back-fence', { title, detail: 'Users may be made and changed by ACL.' });
  }
  if (state === 'denied') {
    return block('way-back-impossible', {
      title,
      detail: `By ACL it is denied: ${aclFence.detail}.`,
      remedy,
    });
  }
  const detail = `Whether users may be made and changed by ACL is not known: ${aclFence.detail}.`;
  return warn('way-back-fence-unknown', { title, detail, remedy });
}

function judgeClusterMode({ source, target }: Pair): Ruling | undefined {
  const title = 'Way back: cluster mode';
  if (source.cluster !== undefined) {
    return block('way-back-impossible', {
      title,
      detail: 'The source is in cluster mode, and a way back leads to a standalone server only.',
      remedy: 'Migrate without `reverse`.',
    });
  }
  if (target.cluster === undefined) return undefined;
  return block('way-back-impossible', {
    title,
    detail: 'The target has cluster mode enabled, and a way back begins at a standalone server only.',
    remedy: 'Migrate without `reverse`, or to a target with cluster mode disabled.',
  });
}

function judgeNotifications({ request }: Pair): Ruling {
  const title = 'Way back: keyspace notifications of the target';
  const { parameterGroup, notifyKeyspaceEvents: flags } = request.targetFacts ?? {};
  if (parameterGroup === undefined || flags === undefined) {
    return warn('way-back-notifications-unknown', {
      title,
      detail: `The parameter group of the target could not be read.`,
      remedy: `Make sure that \`${NOTIFY_SETTING}\` is \`${NOTIFY_NEEDED}\` at least, or allow elasticache:DescribeCacheClusters and elasticache:DescribeCacheParameters.`,
    });
  }
  const detail = `\`${NOTIFY_SETTING}\` is "${flags}" in the parameter group ${parameterGroup}`;
  if (describeMissing(readNotifications(flags)) === undefined) {
    return pass('way-back-notifications', { title, detail: `${detail}.` });
  }
  if (parameterGroup.startsWith('default.')) {
    return block('parameter-group-unmodifiable', {
      title,
      detail: `${detail}, which is a default one: nobody can change it.`,
    });
  }
  return warn('way-back-notifications-set', {
    title,
    detail: `${detail}; start-migration adds what is missing of \`${NOTIFY_NEEDED}\`, and it is set back when the way back is over.`,
    remedy: 'Check that no other replication group uses this parameter group: it would get the setting too.',
  });
}

function judgePermissions({ target: { deniedToWayBack: denied } }: Pair): Ruling | undefined {
  // ElastiCache may refuse ACL DRYRUN.
  if (denied === undefined) return undefined;
  const title = 'Way back: permissions at the target';
  if (denied.length === 0)
    return pass('way-back-permissions', { title, detail: 'It may be scanned and fenced.' });
  return block('way-back-impossible', {
    title,
    detail: `The user may not run ${denied.join(', ')}.`,
    remedy: 'Allow these commands to the user of `target-username`, or migrate without `reverse`.',
  });
}

/** Only what the applications begin to use at the new server can be in the way. */
function judgeHashFields({ source, target }: Pair): Ruling | undefined {
  const isOld = source.server.kind === 'redis' && !isVersionAtLeast(source.server.version, 7, 4);
  const isOldValkey = source.server.kind === 'valkey' && !isVersionAtLeast(source.server.version, 9, 0);
  const canExpire = target.server.kind === 'valkey' && isVersionAtLeast(target.server.version, 9, 0);
  if (!canExpire || !(isOld || isOldValkey)) return undefined;
  return warn('way-back-hash-fields', {
    title: 'Way back: expiry times of hash fields',
    detail:
      'The target knows them, and the source does not: the way back ends at the first hash that has some.',
    remedy: 'Do not use them as long as the way back is kept, or give `hash-field-ttl: keep-values`.',
  });
}

function judgeEviction({ source }: Pair): Ruling | undefined {
  const policy = source.info.fields.get('maxmemory_policy') ?? 'noeviction';
  if (policy === 'noeviction' || source.server.maxMemoryBytes === 0) return undefined;
  return warn('way-back-eviction', {
    title: 'Way back: eviction at the source',
    detail: `maxmemory-policy of the source is ${policy}: when it is full it deletes keys, which verify then reports as missing.`,
    remedy: 'Leave room in the memory of the source as long as the way back is kept.',
  });
}
