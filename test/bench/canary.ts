import { systemClock } from '../../src/core/clock.ts';
import { repeat } from './sampling.ts';
import type { ServerPair } from './server-pair.ts';

/** A key that is written at the source again and again, and looked for at the target. */
export type Canary = AsyncDisposable & {
  /** Resolves when what the source had acknowledged at the call is at the target, with the time until then. */
  passed(): Promise<number>;
  /** How long the oldest write that the target does not show has been acknowledged; 0 when it shows all. */
  lagMs(): number;
  /** Writes no more by itself. */
  rest(): Promise<void>;
  /** The lags since the last call, one for each look at the target. */
  takeLags(): number[];
};

const KEY = 'bench:canary';
const WRITE_INTERVAL_MS = 20;
const LOOK_INTERVAL_MS = 10;

/** Starts to write and to look; without a target nothing would ever pass. */
export function startCanary(pair: ServerPair, signal: AbortSignal): Canary {
  const [source, target] = [pair.source.client(), pair.target.client()];
  const [stopping, resting] = [new AbortController(), new AbortController()];
  const ended = AbortSignal.any([signal, stopping.signal]);
  /** When each number was acknowledged; the first numbers leave as the target shows them. */
  const acknowledged: { number: number; atMs: number }[] = [];
  let written = 0;
  let seen = 0;
  let lags: number[] = [];
  const lagMs = () => (acknowledged[0] === undefined ? 0 : Date.now() - acknowledged[0].atMs);
  const write = async () => {
    const number = ++written;
    await source.set(KEY, number);
    if (number > seen) acknowledged.push({ number, atMs: Date.now() });
    return number;
  };
  const look = async () => {
    seen = Number((await target.get(KEY)) ?? 0);
    while (acknowledged[0] !== undefined && acknowledged[0].number <= seen) acknowledged.shift();
    lags.push(lagMs());
  };
  const writing = repeat(write, {
    intervalMs: WRITE_INTERVAL_MS,
    signal: AbortSignal.any([ended, resting.signal]),
  });
  const looking = repeat(look, { intervalMs: LOOK_INTERVAL_MS, signal: ended });
  // A failure shows when the canary is disposed of; until then it is nobody's unhandled rejection.
  const working = Promise.all([writing, looking]);
  working.catch(() => {});
  return {
    passed: async () => {
      const startedAtMs = performance.now();
      const number = await write();
      while (seen < number) await systemClock.sleep(1, signal);
      return performance.now() - startedAtMs;
    },
    lagMs,
    rest: async () => {
      resting.abort();
      await writing;
    },
    takeLags: () => {
      const taken = lags;
      lags = [];
      return taken;
    },
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      source.disconnect();
      target.disconnect();
      await working;
    },
  };
}
