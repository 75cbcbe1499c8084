import type { Progress } from '../../contract/job-state.ts';
import type { Clock } from '../../core/clock.ts';

/** What a verification is doing. */
export type VerifyStage = 'scanning-source' | 'scanning-target' | 'rechecking' | 'functions' | 'repairing';

/** How far a verification is. */
export type Reading = {
  readonly stage: VerifyStage;
  /** Keys that the servers say they have, both sides together; expired ones included, so it may never be reached. */
  readonly keysExpected: number;
  readonly keysScanned: number;
  readonly bytes: number;
  readonly suspectsOpen: number;
  readonly suspectsSettled: number;
  readonly differences: number;
};

/** Starts the clock; the result turns a reading into the progress that is shown. */
export function startMeter(clock: Clock): (reading: Reading) => Progress {
  const startedAtMs = clock.nowMs();
  let scannedAtMs = startedAtMs;
  let recheckedFrom: { atMs: number; settled: number } | undefined;
  return (reading) => {
    const { stage, keysExpected, keysScanned, bytes } = reading;
    const isScanning = stage === 'scanning-source' || stage === 'scanning-target';
    if (isScanning) scannedAtMs = clock.nowMs();
    recheckedFrom =
      stage === 'rechecking'
        ? (recheckedFrom ?? { atMs: clock.nowMs(), settled: reading.suspectsSettled })
        : undefined;
    const seconds = Math.max(scannedAtMs - startedAtMs, 1) / 1000;
    const keysPerSecond = keysScanned / seconds;
    const etaMs = isScanning
      ? timeLeftMs({ left: keysExpected - keysScanned, done: keysScanned, tookMs: seconds * 1000 })
      : recheckedFrom &&
        timeLeftMs({
          left: reading.suspectsOpen,
          done: reading.suspectsSettled - recheckedFrom.settled,
          tookMs: clock.nowMs() - recheckedFrom.atMs,
        });
    return {
      stage,
      percent: isScanning ? percentOf(keysScanned, keysExpected) : 99,
      keys: keysScanned,
      keysPerSecond,
      bytes,
      bytesPerSecond: bytes / seconds,
      ...(etaMs === undefined ? {} : { etaMs }),
      notes: [`suspects open: ${reading.suspectsOpen}`, `differences: ${reading.differences}`],
    };
  };
}

/** At the speed so far; undefined as long as there is none. */
function timeLeftMs({ left, done, tookMs }: { left: number; done: number; tookMs: number }) {
  return done > 0 ? (Math.max(0, left) / done) * tookMs : undefined;
}

/** The scans are all but the last percent, which is the looking again. */
function percentOf(done: number, expected: number): number {
  return expected === 0 ? 0 : Math.min(99, (done / expected) * 99);
}
