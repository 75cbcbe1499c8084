import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../../../src/core/clock.ts';

/** The longest real pause: enough for the simulator to move on, on a busy machine too. */
const REAL_PAUSE_MS = 40;

/** A clock on which every pause passes in a moment: what waits for minutes comes to its end in a test. */
export function createHurriedClock(): Clock {
  let nowMs = Date.now();
  return {
    nowMs: () => nowMs,
    sleep: async (durationMs, signal) => {
      signal.throwIfAborted();
      await pause(Math.min(durationMs, REAL_PAUSE_MS));
      signal.throwIfAborted();
      nowMs += durationMs;
    },
  };
}
