import { Redis } from 'ioredis';
import type { Access } from './access.ts';
import { toServerError } from './server-error.ts';
import { explainTlsFailure } from './tls-silence.ts';

/** How long a connection may take to be made. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** How long a single answer of the control plane may take: a half-open connection must not hold a fence for ever. */
const COMMAND_TIMEOUT_MS = 20_000;

/** A control-plane connection; the data path has raw sockets of its own. */
export type Client = AsyncDisposable & {
  readonly access: Access;
  readonly redis: Redis;
  /**
   * Sends one command and returns its reply with bulk strings as Buffers.
   *
   * @throws the code of the side that fits the refusal, see server-error.ts
   */
  call(command: string, ...args: readonly (string | Buffer | number)[]): Promise<unknown>;
  /** As `call`, with the reply as text; undefined for a null reply. */
  callText(command: string, ...args: readonly (string | Buffer | number)[]): Promise<string | undefined>;
};

/**
 * Opens an authenticated connection for everything but the data path: INFO, CONFIG, fences, canaries.
 *
 * It does not reconnect by itself: who uses it decides what a lost connection means.
 *
 * @throws {side}-unreachable, {side}-auth-failed, {side}-tls-failed, {side}-not-ready
 */
export async function openClient(access: Access, { db = 0 }: { db?: number } = {}): Promise<Client> {
  const redis = new Redis({
    host: access.host,
    port: access.port,
    db,
    ...(access.username === undefined ? {} : { username: access.username }),
    ...(access.password === undefined ? {} : { password: access.password.reveal() }),
    ...(access.tls === undefined ? {} : { tls: access.tls }),
    protocol: 2,
    lazyConnect: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    disableClientInfo: true,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
  });
  // connect() only says "Connection is closed"; the cause arrives as the first error event.
  let firstError: unknown;
  redis.on('error', (error) => {
    firstError ??= error;
  });
  try {
    await redis.connect();
    await redis.ping();
  } catch (error) {
    redis.disconnect();
    throw await explainTlsFailure(access, toServerError(access, 'connecting', firstError ?? error));
  }
  const call: Client['call'] = async (command, ...args) => {
    try {
      return await redis.callBuffer(command, ...args);
    } catch (error) {
      throw toServerError(access, `running ${command}`, error);
    }
  };
  return {
    access,
    redis,
    call,
    callText: async (command, ...args) => {
      const reply = await call(command, ...args);
      return reply === null ? undefined : String(reply);
    },
    [Symbol.asyncDispose]: async () => {
      redis.disconnect();
    },
  };
}
