import { freemem } from 'node:os';
import type { Clock } from '../../core/clock.ts';
import type { Client } from '../redis/client.ts';
import { readServerInfo, type ServerInfo } from '../redis/server-info.ts';

/** Between the two looks at the write rate. */
const RATE_SAMPLE_MS = 1000;

/** What decides how a source is tuned. */
export type SourceLoad = {
  readonly usedMemoryBytes: number;
  readonly writeBytesPerSecond: number;
  /** What the source may still take, by its maxmemory and its host; undefined where neither is known. */
  readonly freeMemoryBytes: number | undefined;
  /** Round-trip time from the host of the agent. */
  readonly latencyMs: number;
};

/** Reads the load of the source, over a second. @throws the codes of {@link Client.call}, or the signal's reason */
export async function readSourceLoad(
  client: Client,
  { latencyMs, clock, signal }: { latencyMs: number; clock: Clock; signal: AbortSignal },
): Promise<SourceLoad> {
  const info = await readServerInfo(client);
  return {
    usedMemoryBytes: number(info, 'used_memory'),
    writeBytesPerSecond: await measureWriteRate(client, info, { clock, signal }),
    freeMemoryBytes: freeMemoryOf(info, client.access.host),
    latencyMs,
  };
}

/**
 * Bytes of the replication stream per second. Without a backlog the offset stands still, and what the clients send
 * in all stands for what they write.
 */
async function measureWriteRate(
  client: Client,
  before: ServerInfo,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<number> {
  if (before.fields.get('repl_backlog_active') !== '1') {
    return number(before, 'instantaneous_input_kbps') * 1024;
  }
  const first = await readServerInfo(client);
  const startedAtMs = clock.nowMs();
  await clock.sleep(RATE_SAMPLE_MS, signal);
  const second = await readServerInfo(client);
  const seconds = Math.max(1, clock.nowMs() - startedAtMs) / 1000;
  const written = number(second, 'master_repl_offset') - number(first, 'master_repl_offset');
  return Math.max(0, written) / seconds;
}

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
