import { DescribeCacheClustersCommand, ModifyCacheParameterGroupCommand } from '@aws-sdk/client-elasticache';
import type { ChangedParameter } from '../../contract/host-commands.ts';
import { MigrationError } from '../../core/errors.ts';
import { callAws } from './aws-error.ts';
import { pollUntil } from './poll.ts';
import { describeTarget, type ElastiCacheDoor, NOTIFICATIONS, type Target } from './target.ts';

/*
 * notify-keyspace-events = *flag    E events by name; A all classes, that is g$lshzxet. Source: redis.conf of valkey 9.1.
 */

const NEEDED = 'EA';
const CLASSES = [...'g$lshzxet'];
/** A parameter is in the nodes within a minute or two. */
const APPLY_TIMEOUT_MS = 10 * 60_000;

/** Whether the nodes tell of every change by these flags. */
export function areNotificationsOn(flags: string): boolean {
  return flags.includes('E') && (flags.includes('A') || CLASSES.every((flag) => flags.includes(flag)));
}

/** What is changed to switch them on: the flags that are there stay. Undefined where nothing is to be changed. */
export function planNotifications(target: Target): (ChangedParameter & { readonly set: string }) | undefined {
  const { parameterGroup, notifyKeyspaceEvents: before } = target;
  if (parameterGroup === undefined || before === undefined || areNotificationsOn(before)) return undefined;
  const added = [...NEEDED].filter((flag) => !before.includes(flag)).join('');
  return { parameterGroup, before, set: `${before}${added}` };
}

/**
 * Sets the parameter and waits until the nodes have it.
 *
 * @throws parameter-group-unmodifiable, aws-access-denied, and what AWS answers
 */
export async function setNotifications(
  door: ElastiCacheDoor,
  { target, parameterGroup, value }: { target: Target; parameterGroup: string; value: string },
): Promise<void> {
  const call = {
    action: 'elasticache:ModifyCacheParameterGroup',
    about: `parameter group ${parameterGroup}`,
    signal: door.signal,
  };
  const parameter = { ParameterName: NOTIFICATIONS, ParameterValue: value };
  const command = new ModifyCacheParameterGroupCommand({
    CacheParameterGroupName: parameterGroup,
    ParameterNameValues: [parameter],
  });
  await callAws(call, () => door.elasticache.send(command, { abortSignal: door.signal }));
  door.log(`Set ${NOTIFICATIONS} of the parameter group ${parameterGroup} to "${value}".`);
  await awaitApplied(door, target, parameterGroup);
}

/**
 * Gives the parameter back its value, unless somebody has changed it meanwhile, or the group has another parameter group;
 * says what was left alone.
 *
 * @throws what AWS answers
 */
export async function restoreNotifications(
  door: ElastiCacheDoor,
  { id, changed }: { id: string; changed: ChangedParameter },
): Promise<string | undefined> {
  const target = await describeTarget(door, id);
  const { parameterGroup, before } = changed;
  const { set } = planNotifications({ ...target, parameterGroup, notifyKeyspaceEvents: before }) ?? {};
  const is = target.parameterGroup === parameterGroup ? target.notifyKeyspaceEvents : undefined;
  if (is === before) return undefined;
  if (is === undefined || !isSameFlags(is, set ?? '')) {
    return `${NOTIFICATIONS} of the parameter group ${parameterGroup} was changed by somebody else, and is left as it is: before the migration it was "${before}".`;
  }
  await setNotifications(door, { target, parameterGroup, value: before });
  return undefined;
}

/** A server shows flags in an order of its own. */
function isSameFlags(a: string, b: string): boolean {
  const sorted = (flags: string) => [...new Set(flags)].sort().join('');
  return sorted(a) === sorted(b);
}

async function awaitApplied(door: ElastiCacheDoor, target: Target, parameterGroup: string): Promise<void> {
  for (const member of target.memberClusters) {
    const isApplied = () => isInSync(door, { member, parameterGroup });
    const applied = await pollUntil(isApplied, { ...door, timeoutMs: APPLY_TIMEOUT_MS });
    if (applied === undefined) {
      throw new MigrationError(
        'parameter-group-unmodifiable',
        `The node ${member} has not taken ${NOTIFICATIONS} of the parameter group ${parameterGroup} within 10 minutes.`,
        {
          remedy:
            'Look at the parameter group and the events of the replication group, then run the phase again.',
        },
      );
    }
  }
}

/** Undefined as long as it is not. */
async function isInSync(
  door: ElastiCacheDoor,
  { member, parameterGroup }: { member: string; parameterGroup: string },
): Promise<true | undefined> {
  const call = {
    action: 'elasticache:DescribeCacheClusters',
    about: `cluster ${member}`,
    signal: door.signal,
  };
  const command = new DescribeCacheClustersCommand({ CacheClusterId: member });
  const answer = await callAws(call, () => door.elasticache.send(command, { abortSignal: door.signal }));
  const state = answer.CacheClusters?.[0]?.CacheParameterGroup;
  const isOther = state?.CacheParameterGroupName !== parameterGroup;
  return isOther || state.ParameterApplyStatus === 'in-sync' ? true : undefined;
}
