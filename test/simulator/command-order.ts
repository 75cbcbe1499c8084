import { randomUUID } from 'node:crypto';
import * as ssm from '@aws-sdk/client-ssm';
import type { CommandDocument } from './command-document.ts';
import { modelledFault, validationFault } from './fault.ts';
import type { CommandOrder } from './run-command.ts';
import type { Checked } from './service.ts';

/** The document that every account has. */
const SHELL_DOCUMENT = 'AWS-RunShellScript';
/** Parameters and document together may have 97 KB; the document of AWS-RunShellScript takes about 1.5 KB. */
const MAX_PARAMETER_BYTES = 97 * 1024 - 1500;
const DEFAULT_EXECUTION_SECONDS = 3600;

/**
 * Reads a SendCommand; the limits that the SDK's schemas do not carry are checked by hand.
 *
 * @throws AwsFault with the code that AWS answers
 */
export function readOrder(
  input: Checked<ssm.SendCommandRequest>,
  documents: ReadonlyMap<string, CommandDocument>,
): CommandOrder {
  checkInstanceIds(input.InstanceIds ?? []);
  const comment = input.Comment ?? '';
  if (comment.length > 100) {
    throw validationFault({
      member: 'comment',
      value: comment,
      constraint: 'length less than or equal to 100',
    });
  }
  checkRange('timeoutSeconds', input.TimeoutSeconds, { min: 30, max: 2_592_000 });
  const parameters = input.Parameters ?? {};
  if (Buffer.byteLength(JSON.stringify(parameters)) > MAX_PARAMETER_BYTES) {
    throw modelledFault(
      'json',
      ssm.MaxDocumentSizeExceeded$,
      'The total size of your parameter(s) and document exceeds the 97KB limit.',
    );
  }
  const { script, timeoutSeconds } = renderScript(input.DocumentName, { parameters, documents });
  const executionSeconds = Number(timeoutSeconds);
  const isInRange = executionSeconds >= 5 && executionSeconds <= 172_800;
  return {
    commandId: randomUUID(),
    documentName: input.DocumentName,
    comment,
    parameters,
    script,
    workingDirectory: parameters.workingDirectory?.[0],
    deliverySeconds: input.TimeoutSeconds ?? 3600,
    // The agent falls back to the default where the value is out of its range.
    executionSeconds: isInRange ? executionSeconds : DEFAULT_EXECUTION_SECONDS,
  };
}

function renderScript(
  name: string,
  {
    parameters,
    documents,
  }: { parameters: Record<string, string[]>; documents: ReadonlyMap<string, CommandDocument> },
): { script: string; timeoutSeconds: string } {
  if (name !== SHELL_DOCUMENT) {
    const document = documents.get(name);
    if (document === undefined) throw modelledFault('json', ssm.InvalidDocument$, '');
    return document.render(parameters);
  }
  checkParameterNames(parameters);
  return {
    script: `${(parameters.commands ?? []).join('\n')}\n`,
    timeoutSeconds: parameters.executionTimeout?.[0] ?? String(DEFAULT_EXECUTION_SECONDS),
  };
}

function checkParameterNames(parameters: Record<string, string[]>): void {
  const known = ['commands', 'workingDirectory', 'executionTimeout'];
  const unknown = Object.keys(parameters).find((name) => !known.includes(name));
  if (unknown !== undefined || parameters.commands === undefined) {
    throw modelledFault('json', ssm.InvalidParameters$, unknown ?? 'Parameter "commands" requires a value.');
  }
}

/** The pattern of instance ids, and no more than 50 of them, each once. */
export function checkInstanceIds(instanceIds: readonly string[]): void {
  if (instanceIds.length === 0 || instanceIds.length > 50) {
    throw validationFault({
      member: 'instanceIds',
      value: `[${instanceIds.join(', ')}]`,
      constraint: 'length between 1 and 50',
    });
  }
  for (const id of instanceIds) {
    if (/^i-(\w{8}|\w{17})$|^mi-\w{17}$/.test(id)) continue;
    throw validationFault({
      member: 'instanceIds',
      value: `[${id}]`,
      constraint: String.raw`regular expression pattern: (^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)`,
    });
  }
  if (new Set(instanceIds).size < instanceIds.length)
    throw modelledFault('json', ssm.DuplicateInstanceId$, '');
}

/** ValidationException for a number out of its range. */
export function checkRange(
  member: string,
  value: number | undefined,
  range: { min: number; max: number },
): void {
  if (value === undefined || (value >= range.min && value <= range.max)) return;
  const isLow = value < range.min;
  throw validationFault({
    member,
    value: String(value),
    constraint: isLow
      ? `value greater than or equal to ${range.min}`
      : `value less than or equal to ${range.max}`,
  });
}
