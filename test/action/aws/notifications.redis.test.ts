import { describe, expect, it } from 'vitest';
import {
  areNotificationsOn,
  planNotifications,
  restoreNotifications,
  setNotifications,
} from '../../../src/action/aws/notifications.ts';
import { describeTarget } from '../../../src/action/aws/target.ts';
import { targetServer } from '../../servers/start.ts';
import { openSimulatedDoor } from './simulated-door.ts';

const ID = 'sessions';

describe('the flags of notifications', () => {
  it.each([
    ['EA', true],
    ['AKE', true],
    ['Eg$lshzxet', true],
    ['KA', false],
    ['Eg$lshzxe', false],
    ['', false],
  ])('%s: %s', (flags, isOn) => expect(areNotificationsOn(flags)).toBe(isOn));
});

describe('notifications of the target', () => {
  it('are switched on beside what is there, in every node, and set back exactly', async () => {
    await using stage = await openStage('own', 'Kx');
    const { door, group } = stage;
    const target = await describeTarget(door, ID);
    const plan = planNotifications(target);
    expect(plan).toEqual({ parameterGroup: 'own', before: 'xK', set: 'xKEA' });
    if (plan === undefined) return;
    await setNotifications(door, { target, parameterGroup: 'own', value: plan.set });
    expect(await group.admin('CONFIG', 'GET', 'notify-keyspace-events')).toEqual([
      'notify-keyspace-events',
      'AKE',
    ]);
    expect(planNotifications(await describeTarget(door, ID))).toBeUndefined();
    const changed = { parameterGroup: plan.parameterGroup, before: plan.before };
    expect(await restoreNotifications(door, { id: ID, changed })).toBeUndefined();
    expect((await describeTarget(door, ID)).notifyKeyspaceEvents).toBe('xK');
    expect(await restoreNotifications(door, { id: ID, changed })).toBeUndefined();
  });

  it('are left alone when somebody else has changed them meanwhile', async () => {
    await using stage = await openStage('own', '');
    const { door } = stage;
    const target = await describeTarget(door, ID);
    await setNotifications(door, { target, parameterGroup: 'own', value: 'Ex' });
    const changed = { parameterGroup: 'own', before: '' };
    expect(await restoreNotifications(door, { id: ID, changed })).toContain('changed by somebody else');
    expect((await describeTarget(door, ID)).notifyKeyspaceEvents).toBe('Ex');
    const other = { parameterGroup: 'one-before', before: '' };
    expect(await restoreNotifications(door, { id: ID, changed: other })).toContain('one-before');
  });

  it('cannot be switched on in a default parameter group', async () => {
    await using stage = await openStage(undefined, '');
    const { door } = stage;
    const target = await describeTarget(door, ID);
    const parameterGroup = target.parameterGroup ?? '';
    await expect(setNotifications(door, { target, parameterGroup, value: 'EA' })).rejects.toMatchObject({
      code: 'parameter-group-unmodifiable',
      message: expect.stringContaining(parameterGroup),
    });
  });

  it('that the role may not set name the permission', async () => {
    await using stage = await openStage('own', '');
    const { door, simulator } = stage;
    simulator.faults.inject({ operation: 'ModifyCacheParameterGroup', error: 'AccessDenied' });
    const target = await describeTarget(door, ID);
    await expect(
      setNotifications(door, { target, parameterGroup: 'own', value: 'EA' }),
    ).rejects.toMatchObject({
      code: 'aws-access-denied',
      message: expect.stringContaining('elasticache:ModifyCacheParameterGroup'),
    });
  });
});

async function openStage(parameterGroup: string | undefined, flags: string) {
  const opened = await openSimulatedDoor();
  const group = await opened.simulator.addReplicationGroup({
    replicationGroupId: ID,
    server: await targetServer(),
    config: { 'notify-keyspace-events': flags === '' ? '""' : flags },
    ...(parameterGroup === undefined ? {} : { parameterGroup }),
  });
  return { ...opened, group };
}
