import { describe, expect, it } from 'vitest';
import { type AccessLevel, requireAccess } from '../../../src/agent/host/access.ts';
import { type HostCommand, hostCommandSchema } from '../../../src/contract/host-commands.ts';
import { jobKindSchema } from '../../../src/contract/jobs.ts';

const OF_MIGRATION = { migrationId: 'sessions', repository: 'acme/shop' };
const NAMES = hostCommandSchema.options.map(({ shape }) => shape.command.value);

/** Commands without a job, and stopping each kind of job: starting one is judged by its kind as well. */
const COMMANDS: readonly HostCommand[] = [
  ...NAMES.filter((name) => name !== 'start' && name !== 'stop').map(commandOf),
  ...jobKindSchema.options.map((kind): HostCommand => ({ command: 'stop', ...OF_MIGRATION, kind })),
];

/** Only the name of these matters here. */
function commandOf(command: string): HostCommand {
  return { command, ...OF_MIGRATION } as HostCommand;
}

function reached(level: AccessLevel): string[] {
  return COMMANDS.filter((command) => {
    try {
      requireAccess(command, level);
      return true;
    } catch {
      // What it is refused with is looked at below.
      return false;
    }
  }).map((command) => (command.command === 'stop' ? `stop ${command.kind}` : command.command));
}

describe('the level', () => {
  it('read looks, and runs what only looks', () => {
    expect(reached('read').sort()).toEqual(
      [
        'hello',
        'report',
        'sealing-key',
        'status',
        'stop latency',
        'stop link',
        'stop preflight',
        'stop stragglers',
        'stop verify',
      ].sort(),
    );
  });

  it('cutover is that alone', () => {
    expect(reached('cutover').sort()).toEqual(
      [
        'complete',
        'hand-over',
        'hello',
        'report',
        'sealing-key',
        'status',
        'stop cutover',
        'stop link',
        'stop stragglers',
        'stop unfence',
      ].sort(),
    );
  });

  it('change is everything but the cutover', () => {
    const all = COMMANDS.map((command) =>
      command.command === 'stop' ? `stop ${command.kind}` : command.command,
    );
    const beyond = ['complete', 'hand-over', 'stop cutover', 'stop keeper'];
    expect(reached('change').sort()).toEqual(all.filter((name) => !beyond.includes(name)).sort());
  });

  it('is named by the refusal, with what was asked', () => {
    expect(() => requireAccess({ command: 'stop', ...OF_MIGRATION, kind: 'sync' }, 'read')).toThrow(
      expect.objectContaining({ code: 'host-access-denied', message: expect.stringContaining('for read') }),
    );
  });
});
