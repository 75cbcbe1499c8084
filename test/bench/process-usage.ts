import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import { repeat } from './sampling.ts';

/** What a process has used. */
export type ProcessUsage = {
  /** User and system time, that of ended children (a forked RDB writer) included. */
  readonly cpuSeconds: number;
  /** The most memory that was resident at once: VmHWM. */
  readonly peakBytes: number;
};

/** A process that is looked at until it ends, since nothing can be read afterwards. */
export type WatchedProcess = AsyncDisposable & {
  /** Reads once more if it still runs; both figures are those of its whole life. */
  usage(): Promise<ProcessUsage>;
};

/** The kernel reports times in ticks of 1/100 s on every platform that Node runs on. */
const TICKS_PER_SECOND = 100;
const WATCH_INTERVAL_MS = 50;

/** Watches a process; one that is gone keeps what was last seen, at most 50 ms before its end. */
export async function watchProcess(pid: number): Promise<WatchedProcess> {
  const stopping = new AbortController();
  let last = await readUsage(pid);
  const look = async () => {
    last = (await readUsage(pid)) ?? last;
  };
  const watching = repeat(look, { intervalMs: WATCH_INTERVAL_MS, signal: stopping.signal });
  return {
    usage: async () => {
      await look();
      return last ?? { cpuSeconds: 0, peakBytes: 0 };
    },
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await watching;
    },
  };
}

async function readUsage(pid: number): Promise<ProcessUsage | undefined> {
  try {
    const [stat, status] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile(`/proc/${pid}/status`, 'utf8'),
    ]);
    const peakKib = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
    // One that has ended and waits for its parent has no memory left to read.
    if (peakKib === undefined) return undefined;
    return { cpuSeconds: parseCpuSeconds(stat), peakBytes: Number(peakKib) * 1024 };
  } catch {
    // It has ended.
    return undefined;
  }
}

/** utime, stime, cutime and cstime are the fields 14 to 17; the name before them may hold blanks and brackets. */
function parseCpuSeconds(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND;
}

/** A span of time in which others may use the machine too. */
export type LoadSpan = {
  /**
   * The share of all cores that others used: 0.5 is one of two cores.
   *
   * @param ownSeconds the CPU that the watched processes used meanwhile; this process and its ended children are known
   */
  foreignShare(ownSeconds: number): number;
};

/** Begins to measure what the machine does apart from us. */
export function startLoadSpan(): LoadSpan {
  const startedAtMs = performance.now();
  const busyAtStart = readBusySeconds();
  const selfAtStart = readSelfSeconds();
  return {
    foreignShare: (ownSeconds) => {
      const coreSeconds = ((performance.now() - startedAtMs) / 1000) * os.availableParallelism();
      const self = readSelfSeconds() - selfAtStart;
      const foreign = readBusySeconds() - busyAtStart - self - ownSeconds;
      return Math.min(1, Math.max(0, foreign / coreSeconds));
    },
  };
}

/** User, nice, system, irq, softirq and steal: what a hypervisor withheld is somebody else's load too. */
function readBusySeconds(): number {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
  const ticks = line.trim().split(/\s+/).slice(1).map(Number);
  return [0, 1, 2, 5, 6, 7].reduce((sum, field) => sum + (ticks[field] ?? 0), 0) / TICKS_PER_SECOND;
}

function readSelfSeconds(): number {
  return parseCpuSeconds(readFileSync('/proc/self/stat', 'utf8'));
}
