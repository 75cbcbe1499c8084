import { type Endpoint, formatAddress } from '../../contract/endpoint.ts';
import type { TargetFacts } from '../../contract/jobs.ts';
import type { CutoverReport } from '../../contract/reports.ts';
import { MigrationError } from '../../core/errors.ts';
import type { Target } from '../aws/target.ts';
import { optional } from '../input-readers.ts';
import type { Outputs } from '../outputs.ts';
import type { ServerInputs } from '../server-inputs.ts';
import type { TargetSetup } from '../summary/views.ts';

/**
 * The target as the host reaches it: the address from ElastiCache, the credentials from the inputs.
 *
 * @throws replication-group-not-available while the group has no primary endpoint
 */
export function targetEndpoint(
  target: Target,
  { targetAccess }: Pick<ServerInputs, 'targetAccess'>,
): Endpoint {
  if (target.primary === undefined) {
    throw new MigrationError(
      'replication-group-not-available',
      `The replication group ${target.id} has no primary endpoint; its status is ${target.status}.`,
    );
  }
  return { ...target.primary, tls: target.transitEncryption, ...targetAccess };
}

/**
 * Refuses a group that is being changed or migrated: whatever changes it may replace what a migration writes.
 *
 * @throws replication-group-migrating, replication-group-not-available
 */
export function requireAvailable({ id, status }: Target): void {
  if (status === 'available') return;
  if (status === 'migrating') {
    throw new MigrationError(
      'replication-group-migrating',
      `The replication group ${id} is already under an online migration.`,
    );
  }
  throw new MigrationError('replication-group-not-available', `The replication group ${id} is ${status}.`);
}

/** What the agent cannot ask the target itself. */
export function targetFacts(target: Target): TargetFacts {
  const { engine, engineVersion, transitEncryption, multiAz, clusterMode, status, databases } = target;
  const { parameterGroup, notifyKeyspaceEvents } = target;
  return {
    engine,
    engineVersion,
    transitEncryption,
    multiAz,
    clusterMode,
    status,
    ...optional('databases', databases),
    ...optional('parameterGroup', parameterGroup),
    ...optional('notifyKeyspaceEvents', notifyKeyspaceEvents),
  };
}

/** Where applications find the target. */
export function endpointOutputs({ primary, reader, engine, engineVersion }: Target): Outputs {
  return {
    ...(primary === undefined ? {} : { 'primary-endpoint': formatAddress(primary) }),
    ...(reader === undefined ? {} : { 'reader-endpoint': formatAddress(reader) }),
    'engine-version': `${engine} ${engineVersion}`.trim(),
  };
}

/** The same for the summary. */
export function endpointParts(target: Target): { primary?: string; reader?: string; engineVersion?: string } {
  const outputs = endpointOutputs(target);
  return {
    ...(outputs['primary-endpoint'] === undefined ? {} : { primary: outputs['primary-endpoint'] }),
    ...(outputs['reader-endpoint'] === undefined ? {} : { reader: outputs['reader-endpoint'] }),
    ...(outputs['engine-version'] === undefined ? {} : { engineVersion: outputs['engine-version'] }),
  };
}

/** How the group is set up, for what there is to do once the applications use it. */
export function targetSetup(target: Target): TargetSetup {
  const { id, transitEncryption, authTokenEnabled, userGroups, multiAz, automaticFailover } = target;
  const { snapshotRetentionDays, memberClusters, parameterGroup, eventTopic } = target;
  return {
    replicationGroupId: id,
    transitEncryption,
    accessControl: authTokenEnabled || userGroups.length > 0,
    multiAz,
    automaticFailover,
    memberClusters,
    ...optional('snapshotRetentionDays', snapshotRetentionDays),
    ...optional('parameterGroup', parameterGroup),
    ...optional('eventTopic', eventTopic),
  };
}

/** What of a cutover is still in force at the source. */
export function fenceParts({ fence, fencedAtMs }: CutoverReport): { method: string; sinceMs: number } {
  return { method: fence, sinceMs: fencedAtMs };
}
