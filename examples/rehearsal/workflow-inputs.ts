/** What `cdk deploy --outputs-file` writes: outputs by stack. */
export type StackOutputs = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** What the stack cannot know; the rest has the defaults of the workflow. */
export type Given = Readonly<Record<string, string>>;

/** What of the outputs the workflow is told. The address of the target it asks ElastiCache for. */
const INPUTS_BY_OUTPUT = {
  ValkeyReplicationGroupId: 'replication-group-id',
  RedisInstanceId: 'instance-id',
} as const;

/**
 * The inputs of the workflow for the one stack that is in the outputs.
 *
 * @throws Error when there is none or more than one, or when it lacks an output
 */
export function workflowInputs(outputs: StackOutputs, given: Given): Record<string, string> {
  const stacks = Object.entries(outputs);
  const [name, values] = stacks[0] ?? [];
  if (name === undefined || values === undefined || stacks.length > 1)
    throw new Error(`One stack is needed; the file has ${stacks.map(([id]) => id).join(', ') || 'none'}.`);
  const known = Object.entries(INPUTS_BY_OUTPUT).map(([output, input]) => {
    const value = values[output];
    if (value === undefined) throw new Error(`The stack ${name} has no output ${output}.`);
    return [input, value];
  });
  // The agent runs on the host of the source.
  return { ...Object.fromEntries(known), 'source-endpoint': '127.0.0.1:6379', ...given };
}
