import type { Side } from '../../../contract/endpoint.ts';
import { pass, type Ruling, warn } from '../ruling.ts';

/** Within one region a round trip takes a few milliseconds at most. */
const LATENCY_WARN_MS = 20;

/** Judges the median round-trip time from the host to a side, of several primaries that of the slowest. */
export function judgeLatency(side: Side, latencyMs: number, primaries = 1): Ruling {
  const title = `Latency to the ${side}`;
  const where = primaries > 1 ? ` at the slowest of ${primaries} primaries` : '';
  const detail = `The median of PING is ${latencyMs.toFixed(2)} ms${where}.`;
  if (latencyMs <= LATENCY_WARN_MS) return pass(`${side}-latency`, { title, detail });
  return warn(`${side}-latency`, {
    title,
    detail,
    remedy: `Use a host nearer to the ${side}: the drain and the proof take longer with every round trip.`,
  });
}
