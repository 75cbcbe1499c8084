import { ElastiCacheClient } from '@aws-sdk/client-elasticache';
import type { ElastiCacheDoor } from '../../../src/action/aws/target.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { type Simulator, startSimulator } from '../../simulator/start.ts';
import type { Timing } from '../../simulator/timing.ts';

/** A simulated account and the door that leads to its ElastiCache. */
export type SimulatedDoor = AsyncDisposable & {
  readonly simulator: Simulator;
  readonly door: ElastiCacheDoor;
  /** What was logged. */
  readonly lines: string[];
};

/** Opens a door whose looks follow each other closely, with few retries so that faults come through. */
export async function openSimulatedDoor({
  timing = {},
  signal = new AbortController().signal,
}: {
  timing?: Partial<Timing>;
  signal?: AbortSignal;
} = {}): Promise<SimulatedDoor> {
  const simulator = await startSimulator({ timing });
  const { AWS_ACCESS_KEY_ID: accessKeyId = '', AWS_SECRET_ACCESS_KEY: secretAccessKey = '' } = simulator.env;
  const elasticache = new ElastiCacheClient({
    region: simulator.region,
    endpoint: simulator.url,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 2,
  });
  const lines: string[] = [];
  return {
    simulator,
    lines,
    door: { elasticache, clock: systemClock, signal, pollDelaysMs: [20], log: (line) => lines.push(line) },
    [Symbol.asyncDispose]: async () => {
      elasticache.destroy();
      await simulator[Symbol.asyncDispose]();
    },
  };
}
