import type { Progress } from '../../contract/job-state.ts';
import type { Clock } from '../../core/clock.ts';

/** What a verification is doing. */
export type VerifyStage = 'scanning-source' | 'scanning-target' | 'rechecking' | 'functions';

/** How far a verification is. */
export type Reading = {
  readonly stage: VerifyStage;
  /** Keys that the servers say they have, both sides together; expired ones included, so it may never be reached. */
  readonly keysExpected: number;
  readonly keysScanned: number;
  readonly bytes: number;
  readonly suspectsOpen: number;
  readonly differences: number;
};

/** Starts the clock; the result turns a reading into the progress that is shown. */
export function startMeter(clock: Clock): (reading: Reading) => Progress {
  const startedAtMs = clock.nowMs();
  let scannedAtMs = startedAtMs;
  return (reading) => {
    const { stage, keysExpected, keysScanned, bytes } = reading;
    const isScanning = stage === 'scanning-source' || stage === 'scanning-target';
    if (isScanning) scannedAtMs = clock.nowMs();
    const seconds = Math.max(scannedAtMs - startedAtMs, 1) / 1000;
    const keysPerSecond = keysScanned / seconds;
    const keysLeft = Math.max(0, keysExpected - keysScanned);
    return {
      stage,
      percent: isScanning ? percentOf(keysScanned, keysExpected) : 99,
      keys: keysScanned,
      keysPerSecond,
      bytes,
      bytesPerSecond: bytes / seconds,
      ...(isScanning && keysPerSecond > 0 ? { etaMs: (keysLeft / keysPerSecond) * 1000 } : {}),
      notes: [`suspects open: ${reading.suspectsOpen}`, `differences: ${reading.differences}`],
    };
  };
}

/** The scans are all but the last percent, which is the looking again. */
function percentOf(done: number, expected: number): number {
  return expected === 0 ? 0 : Math.min(99, (done / expected) * 99);
}
