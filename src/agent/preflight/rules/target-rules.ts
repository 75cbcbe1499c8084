import type { JobRequestOf } from '../../../contract/jobs.ts';
import { isMigrationError } from '../../../core/errors.ts';
import { formatCount } from '../../../core/units.ts';
import type { JobContext } from '../../job/context.ts';
import { block, pass, type Ruling, warn } from '../ruling.ts';
import type { TargetServerFacts } from '../target-facts.ts';
import { CLUSTER_TARGET_RULES } from './cluster-rules.ts';
import { judgeLatency } from './latency-rule.ts';

/** The migration that examines the target, and what it was asked. */
export type Examiner = {
  readonly request: JobRequestOf<'preflight'>;
  readonly migration: Pick<JobContext, 'migrationId' | 'repository' | 'hostId'>;
};

type TargetRule = (target: TargetServerFacts, examiner: Examiner) => Ruling | undefined;

/** Everything that only the target is asked about, in the order of the report. */
export const TARGET_RULES: readonly TargetRule[] = [
  judgeEngine,
  judgeRole,
  ...CLUSTER_TARGET_RULES,
  judgeHolder,
  judgeKeys,
  judgeCanary,
  judgePermissions,
  judgeEviction,
  ({ server, cluster }) => judgeLatency('target', server.latencyMs, cluster?.primaries.length),
];

function judgeEngine({ server }: TargetServerFacts): Ruling {
  const title = 'Target version';
  const detail = `${server.kind} ${server.version}.`;
  if (server.kind === 'valkey') return pass('target-version', { title, detail });
  return warn('target-is-redis', {
    title,
    detail: `${detail} It is not a Valkey.`,
    remedy: 'Check that it is the right target.',
  });
}

function judgeRole({ server, info }: TargetServerFacts): Ruling {
  const title = 'Target role';
  if (server.role === 'master') return pass('target-role', { title, detail: 'It is a master.' });
  const master = info.fields.get('master_host') ?? 'an unknown master';
  return block('target-read-only', { title, detail: `It is a replica of ${master} and takes no writes.` });
}

/** A target belongs to one migration, from whatever repository or host it comes. */
function judgeHolder({ claim }: TargetServerFacts, { migration }: Examiner): Ruling {
  const title = 'Holder of the target';
  if (claim === undefined) return pass('target-free', { title, detail: 'No migration holds it.' });
  if (isMigrationError(claim)) {
    return block('migration-conflict', { title, detail: claim.message, remedy: claim.remedy });
  }
  const { migrationId, repository, hostId } = claim;
  const holder = `the migration ${migrationId} of ${repository} on the host ${hostId}`;
  const isOwn =
    migrationId === migration.migrationId &&
    repository === migration.repository &&
    hostId === migration.hostId;
  if (isOwn) return pass('target-held', { title, detail: `It is held by this migration (${claim.state}).` });
  return block('migration-conflict', { title, detail: `It is held by ${holder}.` });
}

/** Keys of a migration that holds the target are its own; whose claim it is, is another rule's matter. */
function judgeKeys({ claim, keys }: TargetServerFacts, { request }: Examiner): Ruling {
  const title = 'Keys in the target';
  const count = `It holds ${formatCount(keys)} keys`;
  if (keys <= 0) return pass('target-empty', { title, detail: 'It is empty.' });
  if (claim !== undefined) return pass('target-keys', { title, detail: `${count} of the migration.` });
  if (!request.flushTarget) return block('target-not-empty', { title, detail: `${count}.` });
  return warn('target-will-be-flushed', {
    title,
    detail: `${count}, which will be deleted before the copy.`,
    remedy: 'Check that it is the right target: `flush-target` is true.',
  });
}

function judgeCanary({ canary, cluster }: TargetServerFacts): Ruling | undefined {
  const title = 'Canary write to the target';
  if (canary === undefined) return undefined;
  if (canary.state === 'written') {
    const where = cluster === undefined ? '' : ' on every primary';
    return pass('canary', {
      title,
      detail: `A key was written by SET and by RESTORE, read and deleted${where}.`,
    });
  }
  const { code, message, remedy } = canary.error;
  return block(code, { title, detail: message, remedy });
}

function judgePermissions({ deniedCommands }: TargetServerFacts): Ruling | undefined {
  const title = 'Permissions at the target';
  // ElastiCache may refuse ACL DRYRUN: then only the canary tells.
  if (deniedCommands === undefined) return undefined;
  if (deniedCommands.length === 0) {
    return pass('target-permissions', { title, detail: 'The commands of the sync are allowed.' });
  }
  return block('target-permission-denied', {
    title,
    detail: `The user may not run ${deniedCommands.join(', ')}.`,
    routes: ['replica', 'scan'],
  });
}

function judgeEviction({ info }: TargetServerFacts): Ruling {
  const title = 'Eviction at the target';
  const policy = info.fields.get('maxmemory_policy') ?? 'unknown';
  const detail = `maxmemory-policy is ${policy}.`;
  if (policy === 'noeviction') return pass('target-eviction', { title, detail });
  return warn('target-eviction', {
    title,
    detail: `${detail} A target that runs out of memory deletes keys instead of refusing writes, which the verification reports as missing.`,
    remedy:
      'Leave room in the memory of the target, or set maxmemory-policy noeviction in its parameter group.',
  });
}
