import {
  CancelCommandCommand,
  GetCommandInvocationCommand,
  type GetCommandInvocationResult,
  SendCommandCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm';
import type { Clock } from '../../core/clock.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { type AwsCall, awsErrorName, callAws, toAwsError } from '../aws/aws-error.ts';
import { pollDelayMs } from '../aws/poll.ts';
import { documentParameters, type Operation, operationScript, type ScriptValues } from './scripts.ts';

/** The way to one instance. */
export type SsmDoor = {
  readonly ssm: SSMClient;
  readonly instanceId: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly pollDelaysMs: readonly number[];
  /** A document of one's own that has the operations in it; without one AWS-RunShellScript takes them as scripts. */
  readonly document?: string;
  log(message: string): void;
};

/** A command for the instance. */
export type SsmOrder = {
  readonly operation: Operation;
  readonly values: ScriptValues;
  /** What it is for, as the history of Systems Manager shows it. */
  readonly comment: string;
  readonly executionTimeoutSeconds: number;
};

/**
 * Pauses between looks at a command. Most answers come within a second or two, and a phase has up to a dozen commands, so
 * the first looks are close together; polling every second for longer than that gets throttled.
 */
export const COMMAND_POLL_DELAYS_MS: readonly number[] = [300, 300, 400, 600, 1000, 2000, 3500, 5000];

/** Runs any script as root; part of every AWS account. */
const SHELL_DOCUMENT = 'AWS-RunShellScript';
/** How long a command may take to reach the instance; Systems Manager takes no less than 30. */
const DELIVERY_TIMEOUT_SECONDS = 60;
/** GetCommandInvocation is eventually consistent; a command that stays unknown for so long got lost. */
const INVOCATION_HIDDEN_MAX_MS = 60_000;
/** What Systems Manager may take beyond the two timeouts to notice that they are over. */
const SETTLE_MAX_MS = 60_000;
/** How long the last word to a command may take when the run is cancelled: the runner kills after 7.5 s. */
const CANCEL_TIMEOUT_MS = 1500;
const COMMENT_CHARACTERS_MAX = 100;
const SHOWN_CHARACTERS_MAX = 1000;
/** What the SSM agent puts at the end of output that it cut at 24,000 characters. */
const TRUNCATION_MARK = '---Output truncated---';

/**
 * Runs an operation on the instance and returns its standard output.
 *
 * When the signal is aborted the command is cancelled, as far as Systems Manager can: that kills its process group,
 * and jobs that the agent detached live on.
 *
 * Source: SSM API reference, SendCommand and GetCommandInvocation; status details in the user guide.
 *
 * @throws command-undeliverable, command-timeout, command-cancelled, command-failed (`retryable` when the script was
 * killed, as by a reboot), host-reply-malformed (output was cut), instance-not-managed, instance-platform-unsupported,
 * ssm-document-unsuitable, aws-credentials-missing, aws-access-denied, aws-throttled, aws-unavailable, and the
 * signal's reason
 */
export async function runCommand(door: SsmDoor, order: SsmOrder): Promise<string> {
  const commandId = await sendCommand(door, order);
  try {
    return await followCommand(door, order, commandId);
  } catch (error) {
    if (door.signal.aborted) await cancelCommand(door, commandId);
    throw error;
  }
}

async function sendCommand(door: SsmDoor, order: SsmOrder): Promise<string> {
  const { operation, values } = order;
  const parameters =
    door.document === undefined
      ? { commands: [operationScript(operation, values).text] }
      : documentParameters(operation, values);
  const command = new SendCommandCommand({
    DocumentName: door.document ?? SHELL_DOCUMENT,
    InstanceIds: [door.instanceId],
    Comment: order.comment.slice(0, COMMENT_CHARACTERS_MAX),
    TimeoutSeconds: DELIVERY_TIMEOUT_SECONDS,
    Parameters: { ...parameters, executionTimeout: [String(order.executionTimeoutSeconds)] },
  });
  const answer = await callAws(ssmCall(door, 'SendCommand'), () =>
    door.ssm.send(command, { abortSignal: door.signal }),
  );
  const commandId = answer.Command?.CommandId;
  if (commandId === undefined) {
    throw new MigrationError(
      'aws-unavailable',
      `ssm:SendCommand for instance ${door.instanceId} gave no command id.`,
    );
  }
  return commandId;
}

async function followCommand(door: SsmDoor, order: SsmOrder, commandId: string): Promise<string> {
  const sentAtMs = door.clock.nowMs();
  const limitMs = (DELIVERY_TIMEOUT_SECONDS + order.executionTimeoutSeconds) * 1000 + SETTLE_MAX_MS;
  let wasSeen = false;
  for (let looks = 0; ; looks += 1) {
    await door.clock.sleep(pollDelayMs(door.pollDelaysMs, looks), door.signal);
    const invocation = await lookAtCommand(door, commandId);
    wasSeen ||= invocation !== undefined;
    if (invocation !== undefined) {
      const verdict = judgeInvocation(invocation, { instanceId: door.instanceId, comment: order.comment });
      if (verdict.over) return verdict.stdout;
    }
    const waitedMs = door.clock.nowMs() - sentAtMs;
    if (!wasSeen && waitedMs >= INVOCATION_HIDDEN_MAX_MS) {
      throw new MigrationError(
        'command-undeliverable',
        `The command to ${order.comment} on instance ${door.instanceId} got lost: Systems Manager does not know it.`,
      );
    }
    if (waitedMs >= limitMs) {
      throw new MigrationError(
        'command-timeout',
        `The command to ${order.comment} on instance ${door.instanceId} is still ${invocation?.Status ?? 'unknown'} after ${Math.round(waitedMs / 1000)} s.`,
      );
    }
  }
}

/** One look; undefined while the command is not visible yet, or when the look itself was throttled. */
async function lookAtCommand(
  door: SsmDoor,
  commandId: string,
): Promise<GetCommandInvocationResult | undefined> {
  const command = new GetCommandInvocationCommand({ CommandId: commandId, InstanceId: door.instanceId });
  const call = ssmCall(door, 'GetCommandInvocation');
  try {
    return await callAws(call, async () => {
      try {
        return await door.ssm.send(command, { abortSignal: door.signal });
      } catch (error) {
        // Right after SendCommand the invocation may not be known everywhere.
        if (awsErrorName(error) === 'InvocationDoesNotExist') return undefined;
        throw error;
      }
    });
  } catch (error) {
    // The command runs on whether it is looked at or not, and how long it may take is bounded elsewhere.
    if (!isMigrationError(error) || !['aws-throttled', 'aws-unavailable'].includes(error.code)) throw error;
    door.log(`${error.message} Looking again.`);
    return undefined;
  }
}

type Verdict = { over: false } | { over: true; stdout: string };

/**
 * What an invocation says: still going, its output, or the error that it ended with.
 *
 * @throws command-undeliverable, command-timeout, command-cancelled, command-failed, host-reply-malformed,
 * instance-platform-unsupported, aws-access-denied
 */
export function judgeInvocation(
  invocation: GetCommandInvocationResult,
  { instanceId, comment }: { instanceId: string; comment: string },
): Verdict {
  const subject = `The command to ${comment} on instance ${instanceId}`;
  const stdout = invocation.StandardOutputContent ?? '';
  switch (invocation.Status) {
    case 'Success':
      if (stdout.trimEnd().endsWith(TRUNCATION_MARK)) {
        throw new MigrationError(
          'host-reply-malformed',
          `${subject} printed more than Systems Manager passes on.`,
          {
            retryable: false,
          },
        );
      }
      return { over: true, stdout };
    case 'Cancelled':
      throw new MigrationError('command-cancelled', `${subject} was cancelled in Systems Manager.`);
    case 'TimedOut':
    case 'Failed':
      throw commandError(invocation, subject);
    default:
      // Pending, InProgress, Delayed, Cancelling, and whatever may be added: not the end.
      return { over: false };
  }
}

/** SIGKILL from the SSM agent, a reboot or the kernel. */
const KILLED_EXIT_CODE = 137;

/** The documents print the details with spaces, the API without. */
function commandError(invocation: GetCommandInvocationResult, subject: string): MigrationError {
  const details = (invocation.StatusDetails ?? '').replaceAll(' ', '');
  const told = errorOutput(invocation);
  switch (details) {
    case 'DeliveryTimedOut':
    case 'Undeliverable':
      return new MigrationError('command-undeliverable', `${subject} did not reach it (${details}).`);
    case 'TimedOut':
    case 'ExecutionTimedOut':
      return new MigrationError('command-timeout', `${subject} did not end in its time.${told}`);
    case 'Terminated':
      return new MigrationError('command-cancelled', `${subject} was terminated by Systems Manager.`);
    case 'InvalidPlatform':
      return new MigrationError('instance-platform-unsupported', `${subject} does not fit its platform.`);
    case 'AccessDenied':
      return new MigrationError('aws-access-denied', `${subject} was denied by Systems Manager.${told}`);
    default: {
      const wasKilled = invocation.ResponseCode === KILLED_EXIT_CODE;
      const end = wasKilled ? 'was killed' : `failed with exit code ${invocation.ResponseCode ?? 'unknown'}`;
      return new MigrationError('command-failed', `${subject} ${end}.${told}`, { retryable: wasKilled });
    }
  }
}

function errorOutput(invocation: GetCommandInvocationResult): string {
  const text = (invocation.StandardErrorContent ?? '').trim();
  return text === '' ? '' : ` Its error output ends: ${JSON.stringify(text.slice(-SHOWN_CHARACTERS_MAX))}.`;
}

async function cancelCommand(door: SsmDoor, commandId: string): Promise<void> {
  const command = new CancelCommandCommand({ CommandId: commandId, InstanceIds: [door.instanceId] });
  try {
    await door.ssm.send(command, { abortSignal: AbortSignal.timeout(CANCEL_TIMEOUT_MS) });
    door.log(`Command ${commandId} on instance ${door.instanceId} is cancelled.`);
  } catch (error) {
    // Best effort: the command is short and ends by itself, and the cancellation must go through.
    door.log(
      `Command ${commandId} could not be cancelled: ${errorText(toAwsError(error, ssmCall(door, 'CancelCommand')))}`,
    );
  }
}

/** Names a call of Systems Manager for messages. */
export function ssmCall(door: Pick<SsmDoor, 'instanceId' | 'signal'>, operation: string): AwsCall {
  return { action: `ssm:${operation}`, about: `instance ${door.instanceId}`, signal: door.signal };
}
