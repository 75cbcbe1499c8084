import type { HostCommand } from '../../contract/host-commands.ts';
import type { JobKind } from '../../contract/jobs.ts';
import { MigrationError } from '../../core/errors.ts';

/**
 * How far a way to the agent reaches: a document of Systems Manager says it for whoever may use that document, so that a
 * role for reading is one on the host too.
 */
export const ACCESS_LEVELS = ['read', 'change', 'cutover'] as const;
/** See {@link ACCESS_LEVELS}. */
export type AccessLevel = (typeof ACCESS_LEVELS)[number];

const LOOKING_COMMANDS: ReadonlySet<HostCommand['command']> = new Set([
  'hello',
  'sealing-key',
  'status',
  'report',
]);
const LOOKING_JOBS: ReadonlySet<JobKind> = new Set(['preflight', 'verify', 'link', 'stragglers', 'latency']);
const CUTOVER_COMMANDS: ReadonlySet<HostCommand['command']> = new Set(['hand-over', 'complete']);
const CUTOVER_JOBS: ReadonlySet<JobKind> = new Set(['cutover', 'unfence', 'link', 'stragglers']);

/**
 * Refuses what a level does not reach: `read` looks and compares, `change` does all but the cutover, `cutover` only that.
 *
 * @throws host-access-denied
 */
export function requireAccess(command: HostCommand, level: AccessLevel): void {
  if (isReached(command, level)) return;
  const what = command.command === 'start' ? `start a ${command.job.kind} job` : command.command;
  throw new MigrationError(
    'host-access-denied',
    `The document through which the host was asked is for ${level} and does not let it ${what}.`,
  );
}

function isReached(command: HostCommand, level: AccessLevel): boolean {
  const { command: name } = command;
  if (LOOKING_COMMANDS.has(name)) return true;
  const kind = jobKindOf(command);
  switch (level) {
    case 'read':
      return kind !== undefined && LOOKING_JOBS.has(kind) && !isRepair(command);
    case 'cutover':
      return kind === undefined ? CUTOVER_COMMANDS.has(name) : CUTOVER_JOBS.has(kind);
    default:
      return kind === undefined ? !CUTOVER_COMMANDS.has(name) : kind !== 'cutover' && kind !== 'keeper';
  }
}

function jobKindOf(command: HostCommand): JobKind | undefined {
  if (command.command === 'start') return command.job.kind;
  return command.command === 'stop' ? command.kind : undefined;
}

/** A verification that writes on the target. */
function isRepair(command: HostCommand): boolean {
  return command.command === 'start' && command.job.kind === 'verify' && command.job.repair !== undefined;
}
