import { readFileSync } from 'node:fs';
import { z } from 'zod';

/**
 * Which process a job is, so that it can be found alive or dead later. A pid alone is not enough: it is given out
 * again after a while, and all of them after a reboot.
 */
export const processIdentitySchema = z.strictObject({
  pid: z.int().positive(),
  /** Start time in clock ticks since boot, field 22 of /proc/pid/stat; absent where there is no /proc. */
  startTicks: z.string().optional(),
  bootId: z.string().optional(),
});
/** See {@link processIdentitySchema}. */
export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

/** The identity of the running process. */
export function ownIdentity(): ProcessIdentity {
  const startTicks = readStartTicks(process.pid);
  const bootId = readBootId();
  return {
    pid: process.pid,
    ...(startTicks === undefined ? {} : { startTicks }),
    ...(bootId === undefined ? {} : { bootId }),
  };
}

/** What became of a process. */
export type Fate = 'alive' | 'gone' | 'rebooted';

/** Whether the process still runs, ended, or went down with the host. */
export function fateOf(identity: ProcessIdentity): Fate {
  if (identity.bootId !== undefined && identity.bootId !== readBootId()) return 'rebooted';
  if (identity.startTicks !== undefined) {
    return readStartTicks(identity.pid) === identity.startTicks ? 'alive' : 'gone';
  }
  try {
    process.kill(identity.pid, 0);
    return 'alive';
  } catch {
    // Signal 0 only asks; an error means that there is no such process of ours.
    return 'gone';
  }
}

/** Source: proc(5); the second field is the command in parentheses and may itself hold spaces and parentheses. */
function readStartTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    // A zombie has ended; only its parent has not asked yet.
    return state === 'Z' || state === 'X' ? undefined : fields[19];
  } catch {
    // No such process, or no /proc on this system.
    return undefined;
  }
}

/** Names the life of the kernel that runs; undefined where the system does not say. Source: random(4). */
export function readBootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    // Only Linux has it; without it a reboot is seen by the pid alone.
    return undefined;
  }
}
