import type { CommandInvocationStatus } from '@aws-sdk/client-ssm';
import type { DeliveryFault } from './fault-rules.ts';
import type { ScriptEnd, SimulatedInstance } from './instance.ts';
import type { Timing } from './timing.ts';

/** A command as SendCommand took it. */
export type CommandOrder = {
  commandId: string;
  documentName: string;
  comment: string;
  parameters: Record<string, string[]>;
  script: string;
  workingDirectory: string | undefined;
  /** Seconds until the command must have reached the instance. */
  deliverySeconds: number;
  /** Seconds that the script may run. */
  executionSeconds: number;
};

/** One command on one instance, from Pending to its end. */
export type Invocation = {
  readonly order: CommandOrder;
  readonly instance: SimulatedInstance;
  readonly requestedAt: Date;
  /** False while GetCommandInvocation still answers InvocationDoesNotExist. */
  isVisible: boolean;
  status: CommandInvocationStatus;
  statusDetails: string;
  responseCode: number;
  stdout: string;
  stderr: string;
  startedAt?: Date;
  endedAt?: Date;
  cancel(): void;
  /** Settles when the invocation is over; rejects never. */
  over: Promise<void>;
};

/** Takes a command to an instance and follows it; `signal` ends it with the simulator. */
export function deliverCommand(options: {
  order: CommandOrder;
  instance: SimulatedInstance;
  fault: DeliveryFault | undefined;
  timing: Timing;
  signal: AbortSignal;
}): Invocation {
  const { order, instance, fault, timing, signal } = options;
  const cancelled = new AbortController();
  const stop = AbortSignal.any([signal, cancelled.signal]);
  const invocation: Invocation = {
    order,
    instance,
    requestedAt: new Date(),
    isVisible: false,
    status: 'Pending',
    statusDetails: 'Pending',
    responseCode: -1,
    stdout: '',
    stderr: '',
    over: Promise.resolve(),
    cancel: () => {
      if (invocation.endedAt !== undefined) return;
      settle(invocation, 'Cancelling', 'Cancelling');
      cancelled.abort();
    },
  };
  if (fault?.delivery !== 'lost') {
    void pause(timing.invocationHiddenMs, signal).then(() => {
      invocation.isVisible = true;
    });
  }
  invocation.over = follow({ invocation, fault, timing, stop }).then(() => {
    invocation.endedAt = new Date();
  });
  return invocation;
}

type Journey = {
  invocation: Invocation;
  fault: DeliveryFault | undefined;
  timing: Timing;
  stop: AbortSignal;
};

async function follow(journey: Journey): Promise<void> {
  const { invocation, fault, stop } = journey;
  if (fault?.delivery === 'lost') return settle(invocation, 'Failed', 'Undeliverable');
  if (!(await reachInstance(journey))) return;
  if (stop.aborted) return settle(invocation, 'Cancelled', 'Cancelled');
  await execute(journey);
}

/** False when the command never reached the instance; the status then says why. */
async function reachInstance({ invocation, fault, timing, stop }: Journey): Promise<boolean> {
  if (fault?.delivery === 'delayed') {
    settle(invocation, 'Delayed', 'Delayed');
    await pause(fault.delayMs ?? 500, stop);
  }
  await pause(timing.deliveryMs, stop);
  const deadline =
    invocation.requestedAt.getTime() + invocation.order.deliverySeconds * timing.timeoutSecondMs;
  while (!stop.aborted && invocation.instance.pingStatus !== 'Online' && Date.now() < deadline) {
    await pause(timing.deliveryMs, stop);
  }
  if (stop.aborted) settle(invocation, 'Cancelled', 'Cancelled');
  else if (fault?.delivery === 'undeliverable') settle(invocation, 'Failed', 'Undeliverable');
  else if (fault?.delivery === 'terminated') settle(invocation, 'Failed', 'Terminated');
  else if (fault?.delivery === 'timed-out' || invocation.instance.pingStatus !== 'Online') {
    settle(invocation, 'TimedOut', 'DeliveryTimedOut');
  } else return true;
  return false;
}

async function execute({ invocation, fault, timing, stop }: Journey): Promise<void> {
  const { order, instance } = invocation;
  invocation.startedAt = new Date();
  settle(invocation, 'InProgress', 'InProgress');
  const script = await instance.run({
    commandId: order.commandId,
    text: order.script,
    ...(order.workingDirectory === undefined ? {} : { workingDirectory: order.workingDirectory }),
  });
  const limitMs =
    fault?.delivery === 'execution-timed-out'
      ? (fault.delayMs ?? 0)
      : order.executionSeconds * timing.timeoutSecondMs;
  const timeout = AbortSignal.timeout(Math.min(limitMs, 2 ** 31 - 1));
  const halt = AbortSignal.any([stop, timeout]);
  halt.addEventListener('abort', script.kill, { once: true });
  if (halt.aborted) script.kill();
  const end = await script.ended;
  halt.removeEventListener('abort', script.kill);
  conclude(invocation, end, { isCancelled: stop.aborted, isTimedOut: timeout.aborted });
}

function conclude(
  invocation: Invocation,
  end: ScriptEnd,
  cause: { isCancelled: boolean; isTimedOut: boolean },
): void {
  invocation.responseCode = end.exitCode;
  invocation.stdout = end.stdout;
  invocation.stderr = end.stderr;
  if (cause.isCancelled) settle(invocation, 'Cancelled', 'Cancelled');
  else if (cause.isTimedOut) settle(invocation, 'TimedOut', 'ExecutionTimedOut');
  else if (end.exitCode === 0) settle(invocation, 'Success', 'Success');
  else {
    // The agent adds its own word to the script's error output.
    const separator = end.stderr === '' || end.stderr.endsWith('\n') ? '' : '\n';
    invocation.stderr = `${end.stderr}${separator}failed to run commands: exit status ${end.exitCode}`.slice(
      0,
      8000,
    );
    settle(invocation, 'Failed', 'Failed');
  }
}

function settle(invocation: Invocation, status: CommandInvocationStatus, statusDetails: string): void {
  invocation.status = status;
  invocation.statusDetails = statusDetails;
}

/** Waits, or less when the signal aborts; never rejects. */
export function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    signal.addEventListener('abort', end, { once: true });
  });
}
