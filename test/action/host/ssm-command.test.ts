import type { GetCommandInvocationResult } from '@aws-sdk/client-ssm';
import { describe, expect, it } from 'vitest';
import { judgeInvocation } from '../../../src/action/host/ssm-command.ts';

const SUBJECT = { instanceId: 'i-0123456789abcdef0', comment: 'call status' };

describe('an invocation', () => {
  it.each(['Pending', 'InProgress', 'Delayed', 'Cancelling', 'SomethingNew'])(
    'that is %s is not over',
    (status) => {
      // The service may add statuses that the SDK does not know.
      const invocation: GetCommandInvocationResult = JSON.parse(JSON.stringify({ Status: status }));
      expect(judgeInvocation(invocation, SUBJECT)).toEqual({ over: false });
    },
  );

  it('that succeeded gives its output', () => {
    const invocation: GetCommandInvocationResult = {
      Status: 'Success',
      StandardOutputContent: '{"ok":true}\n',
    };
    expect(judgeInvocation(invocation, SUBJECT)).toEqual({ over: true, stdout: '{"ok":true}\n' });
  });

  it.each<[GetCommandInvocationResult, string, boolean]>([
    [{ Status: 'Cancelled', StatusDetails: 'Cancelled' }, 'command-cancelled', true],
    [{ Status: 'TimedOut', StatusDetails: 'DeliveryTimedOut' }, 'command-undeliverable', true],
    [{ Status: 'TimedOut', StatusDetails: 'Delivery Timed Out' }, 'command-undeliverable', true],
    [{ Status: 'TimedOut', StatusDetails: 'ExecutionTimedOut', ResponseCode: 137 }, 'command-timeout', true],
    [{ Status: 'Failed', StatusDetails: 'Execution Timed Out' }, 'command-timeout', true],
    [{ Status: 'Failed', StatusDetails: 'Undeliverable' }, 'command-undeliverable', true],
    [{ Status: 'Failed', StatusDetails: 'Terminated' }, 'command-cancelled', true],
    [{ Status: 'Failed', StatusDetails: 'InvalidPlatform' }, 'instance-platform-unsupported', false],
    [{ Status: 'Failed', StatusDetails: 'AccessDenied' }, 'aws-access-denied', false],
    [{ Status: 'Failed', StatusDetails: 'Failed', ResponseCode: 1 }, 'command-failed', false],
    [{ Status: 'Failed', StatusDetails: 'Failed', ResponseCode: 137 }, 'command-failed', true],
  ])('%j ends with %s', (invocation, code, retryable) => {
    const judge = () => judgeInvocation(invocation, SUBJECT);
    expect(judge).toThrow(expect.objectContaining({ code, retryable }));
    expect(judge).toThrow('call status on instance i-0123456789abcdef0');
  });

  it('that failed shows the end of its error output, and not more than a screen of it', () => {
    const stderr = `${'x'.repeat(7000)} no space left on device`;
    const invocation: GetCommandInvocationResult = {
      Status: 'Failed',
      StatusDetails: 'Failed',
      ResponseCode: 1,
      StandardErrorContent: stderr,
    };
    expect(() => judgeInvocation(invocation, SUBJECT)).toThrow(/^.{1,1200}no space left on device"\.$/);
  });
});
