import {
  contradictory,
  optional,
  type ReadInput,
  readChoice,
  readFlag,
  readPattern,
} from './input-readers.ts';

/** Where the agent runs. */
export type HostInputs =
  | { kind: 'ssm'; instanceId: string; installNode: boolean; document?: string }
  | { kind: 'local' };

/** Reads where the agent runs. @throws input-missing, input-malformed, input-contradictory */
export function readHostInputs(read: ReadInput): HostInputs {
  const kind = readChoice(read, 'host', ['ssm', 'local'] as const);
  const installNode = readFlag(read, 'install-node');
  if (kind === 'local') {
    if (read('instance-id') !== '') {
      throw contradictory('`instance-id` is given, but `host` is "local": the agent runs on this runner.');
    }
    if (installNode) throw contradictory('`install-node` is for `host` "ssm"; a runner has Node.js.');
    if (read('ssm-document') !== '') {
      throw contradictory(
        '`ssm-document` is given, but `host` is "local": no command goes through Systems Manager.',
      );
    }
    return { kind };
  }
  const instanceId = readPattern(read, 'instance-id', {
    pattern: /^(i-(\w{8}|\w{17})|mi-\w{17})$/,
    expected: 'an instance id such as i-0123456789abcdef0',
  });
  return { kind, instanceId, installNode, ...optional('document', readDocument(read)) };
}

/** A name, or the ARN of a document that another account shares. Source: SSM API reference, SendCommand. */
function readDocument(read: ReadInput): string | undefined {
  if (read('ssm-document') === '') return undefined;
  return readPattern(read, 'ssm-document', {
    pattern: /^[a-zA-Z0-9_.:/-]{3,128}$/,
    expected: 'the name or ARN of a document of Systems Manager',
  });
}
