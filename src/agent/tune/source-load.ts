import { freemem } from 'node:os';
import type { Clock } from '../../core/clock.ts';
import type { Client } from '../redis/client.ts';
import { readServerInfo, type ServerInfo } from '../redis/server-info.ts';

/** What decides how a source is tuned. */
export type SourceLoad = {
  readonly usedMemoryBytes: number;
  /** Of the replication stream where that was measured, else of all that clients send. */
  readonly writeBytesPerSecond: number;
  /** What the source may still take, by its maxmemory and its host; undefined where neither is known. */
  readonly freeMemoryBytes: number | undefined;
  /** Round-trip time from the host of the agent. */
  readonly latencyMs: number;
};

/** Reads the load of the source. @throws the codes of {@link Client.call} */
export async function readSourceLoad(client: Client, latencyMs: number): Promise<SourceLoad> {
  const info = await readServerInfo(client);
  return {
    usedMemoryBytes: number(info, 'used_memory'),
    // What a source that is itself a replica takes from its master is counted apart (7.0).
    writeBytesPerSecond:
      (number(info, 'instantaneous_input_kbps') + number(info, 'instantaneous_input_repl_kbps')) * 1024,
    freeMemoryBytes: freeMemoryOf(info, client.access.host),
    latencyMs,
  };
}

/**
 * The same with the write rate measured, over a second: the source's own figure, which costs no time, counts what
 * clients send to read as well. Without a backlog the offset stands still, and that figure has to do.
 *
 * @throws as {@link readSourceLoad}, or the signal's reason
 */
export async function measureSourceLoad(
  client: Client,
  { latencyMs, clock, signal }: { latencyMs: number; clock: Clock; signal: AbortSignal },
): Promise<SourceLoad> {
  const load = await readSourceLoad(client, latencyMs);
  const first = await readServerInfo(client);
  if (first.fields.get('repl_backlog_active') !== '1') return load;
  const startedAtMs = clock.nowMs();
  await clock.sleep(RATE_SAMPLE_MS, signal);
  const second = await readServerInfo(client);
  const seconds = Math.max(1, clock.nowMs() - startedAtMs) / 1000;
  const written = number(second, 'master_repl_offset') - number(first, 'master_repl_offset');
  return { ...load, writeBytesPerSecond: Math.max(0, written) / seconds };
}

/** Between the two looks at the write rate. */
const RATE_SAMPLE_MS = 1000;

/**
 * The least of what its maxmemory, its host and, where that is our own host, the system leave free.
 *
 * `total_system_memory` does not know of other processes, nor of the limit of a container.
 */
function freeMemoryOf(info: ServerInfo, host: string): number | undefined {
  const maxMemory = number(info, 'maxmemory');
  const systemMemory = number(info, 'total_system_memory');
  const bounds = [
    ...(maxMemory > 0 ? [maxMemory - number(info, 'used_memory')] : []),
    ...(systemMemory > 0 ? [systemMemory - number(info, 'used_memory_rss')] : []),
    ...(/^(127\.|localhost$|::1$)/.test(host) ? [freemem()] : []),
  ];
  return bounds.length === 0 ? undefined : Math.max(0, Math.min(...bounds));
}

function number({ fields }: ServerInfo, name: string): number {
  const value = Number(fields.get(name));
  return Number.isFinite(value) ? value : 0;
}
