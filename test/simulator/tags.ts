import * as elasticache from '@aws-sdk/client-elasticache';
import { type ElastiCacheState, invalidState } from './elasticache-state.ts';
import { modelledFault } from './fault.ts';
import type { SimulatedReplicationGroup } from './replication-group.ts';
import type { Checked } from './service.ts';

/** AddTagsToResource on a replication group; a group that is not available takes no tags. */
export function addTags(
  state: ElastiCacheState,
  input: Checked<elasticache.AddTagsToResourceMessage>,
): elasticache.TagListMessage {
  const group = taggable(state, input.ResourceName);
  for (const { Key, Value } of input.Tags) if (Key !== undefined) group.tags.set(Key, Value ?? '');
  return tagList(group);
}

/** RemoveTagsFromResource; a tag that is not there is a fault. */
export function removeTags(
  state: ElastiCacheState,
  input: Checked<elasticache.RemoveTagsFromResourceMessage>,
): elasticache.TagListMessage {
  const group = taggable(state, input.ResourceName);
  for (const key of input.TagKeys) {
    if (!group.tags.delete(key))
      throw modelledFault('query', elasticache.TagNotFoundFault$, `Tag ${key} not found.`);
  }
  return tagList(group);
}

/** ListTagsForResource. */
export function listTags(
  state: ElastiCacheState,
  input: Checked<elasticache.ListTagsForResourceMessage>,
): elasticache.TagListMessage {
  return tagList(groupByArn(state, input.ResourceName));
}

function taggable(state: ElastiCacheState, arn: string): SimulatedReplicationGroup {
  const group = groupByArn(state, arn);
  if (group.status !== 'available')
    throw invalidState('Cluster not in available state to perform tagging operations');
  return group;
}

function groupByArn(state: ElastiCacheState, arn: string): SimulatedReplicationGroup {
  const group = [...state.groups.values()].find((candidate) => candidate.arn === arn);
  if (group !== undefined) return group;
  if (/^arn:aws[\w-]*:elasticache:[^:]+:\d{12}:replicationgroup:/.test(arn)) {
    throw modelledFault('query', elasticache.ReplicationGroupNotFoundFault$, `${arn} not found.`);
  }
  throw modelledFault('query', elasticache.InvalidARNFault$, `${arn} is no ARN of a replication group.`);
}

function tagList(group: SimulatedReplicationGroup): elasticache.TagListMessage {
  return { TagList: [...group.tags].map(([Key, Value]) => ({ Key, Value })) };
}
