import * as elasticache from '@aws-sdk/client-elasticache';
import { type ElastiCacheState, invalidParameter } from './elasticache-state.ts';
import { modelledFault } from './fault.ts';
import { describeParameters, parameterGroupName } from './group-description.ts';
import type { SimulatedReplicationGroup } from './replication-group.ts';
import { pause } from './run-command.ts';
import type { Checked } from './service.ts';

/** What a parameter group may be asked to change here. */
const MODIFIABLE: ReadonlySet<string> = new Set(['notify-keyspace-events']);

/** DescribeCacheParameters names groups that some replication group uses. */
export function findGroupOfParameters(state: ElastiCacheState, name: string): SimulatedReplicationGroup {
  const group = [...state.groups.values()].find((candidate) => parameterGroupName(candidate) === name);
  if (group === undefined) {
    throw modelledFault(
      'query',
      elasticache.CacheParameterGroupNotFoundFault$,
      `CacheParameterGroup not found: ${name}`,
    );
  }
  return group;
}

/** Changes parameters at once in the description, and a little later in the nodes of every group that uses them. */
export async function modifyParameters(
  state: ElastiCacheState,
  input: Checked<elasticache.ModifyCacheParameterGroupMessage>,
): Promise<elasticache.CacheParameterGroupNameMessage> {
  const name = input.CacheParameterGroupName;
  const known = await describeParameters(findGroupOfParameters(state, name));
  if (name.startsWith('default.')) {
    throw modelledFault(
      'query',
      elasticache.InvalidCacheParameterGroupStateFault$,
      `The parameter group ${name} is a default one and cannot be modified.`,
    );
  }
  for (const { ParameterName = '', ParameterValue } of input.ParameterNameValues) {
    if (!known.some((parameter) => parameter.ParameterName === ParameterName)) {
      throw invalidParameter(`Invalid parameter name: ${ParameterName}`);
    }
    if (!MODIFIABLE.has(ParameterName) || ParameterValue === undefined) {
      throw new Error(`The simulator does not modify ${ParameterName} to ${ParameterValue}`);
    }
    if (!/^[A-Za-z$]*$/.test(ParameterValue)) throw invalidParameter(`Invalid value: ${ParameterValue}`);
    for (const group of state.groups.values()) {
      if (parameterGroupName(group) === name) apply(state, group, [ParameterName, ParameterValue]);
    }
  }
  return { CacheParameterGroupName: name };
}

function apply(
  state: ElastiCacheState,
  group: SimulatedReplicationGroup,
  [name, value]: [string, string],
): void {
  group.modifiedParameters.set(name, value);
  group.parameterApplyStatus = 'applying';
  const applyLater = async () => {
    await pause(state.timing.applyingMs, state.signal);
    await group.admin('CONFIG', 'SET', name, value);
    group.parameterApplyStatus = 'in-sync';
  };
  state.inBackground(applyLater());
}
