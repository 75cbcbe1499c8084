import type { ServerFacts } from '../../contract/reports.ts';
import { isMigrationError } from '../../core/errors.ts';
import type { Client } from '../redis/client.ts';
import { countFieldExpiries, readServerInfo, type ServerInfo } from '../redis/server-info.ts';
import { measureLatency } from './latency.ts';

/** Enough for a median that one slow answer does not move. */
const PINGS = 9;

/** What INFO keyspace says of one database. */
export type DatabaseFacts = {
  readonly db: number;
  readonly keys: number;
  readonly expires: number;
  /** Hashes with fields that expire; undefined where the server does not count them. */
  readonly fieldExpiries: number | undefined;
};

/** Whether the user may do something: `unknown` where asking is denied as well. */
export type Permission =
  | { readonly state: 'allowed' }
  | { readonly state: 'denied' | 'unknown'; readonly detail: string };

/** What is asked of both servers. */
export type CommonFacts = {
  readonly server: ServerFacts;
  readonly info: ServerInfo;
  readonly databases: readonly DatabaseFacts[];
};

/**
 * Reads what preflight wants to know of either server.
 *
 * @throws the codes of {@link Client.call}
 */
export async function readCommonFacts(client: Client): Promise<CommonFacts> {
  const info = await readServerInfo(client);
  const { medianMs } = await measureLatency(client, PINGS);
  const databases = readDatabases(info);
  return {
    info,
    databases,
    server: {
      address: client.access.address,
      kind: info.kind,
      version: info.version,
      role: info.fields.get('role') ?? 'unknown',
      databases: databases.map(({ db, keys }) => ({ db, keys })),
      usedMemoryBytes: numberField(info, 'used_memory'),
      maxMemoryBytes: numberField(info, 'maxmemory'),
      latencyMs: medianMs,
    },
  };
}

/** A field of INFO as a number; 0 where it is not there. */
export function numberField(info: ServerInfo, name: string): number {
  const value = Number(info.fields.get(name));
  return Number.isFinite(value) ? value : 0;
}

/** `db0:keys=1,expires=0,avg_ttl=0` and what later versions add. */
function readDatabases({ fields }: ServerInfo): DatabaseFacts[] {
  const databases: DatabaseFacts[] = [];
  for (const [name, value] of fields) {
    const db = /^db(\d+)$/.exec(name)?.[1];
    if (db === undefined) continue;
    const counts = new Map(value.split(',').map((part): [string, string] => split(part)));
    databases.push({
      db: Number(db),
      keys: Number(counts.get('keys') ?? 0),
      expires: Number(counts.get('expires') ?? 0),
      fieldExpiries: countFieldExpiries(value),
    });
  }
  return databases;
}

function split(part: string): [string, string] {
  const equals = part.indexOf('=');
  return [part.slice(0, equals), part.slice(equals + 1)];
}

/**
 * Asks by ACL DRYRUN (Redis and Valkey from 7.0 on) whether the user may run a command; it is not run.
 *
 * `unknown` where ACL is denied or older.
 */
export async function askPermission(client: Client, ...command: readonly string[]): Promise<Permission> {
  try {
    const user = (await client.callText('ACL', 'WHOAMI')) ?? 'default';
    const answer = (await client.callText('ACL', 'DRYRUN', user, ...command)) ?? '';
    return answer === 'OK' ? { state: 'allowed' } : { state: 'denied', detail: answer };
  } catch (error) {
    return { state: 'unknown', detail: denialText(error) };
  }
}

/**
 * The text of an error that only says that the server will not answer this question; anything else is thrown on.
 */
export function denialText(error: unknown): string {
  if (isMigrationError(error) && /-(permission-denied|protocol-error)$/.test(error.code))
    return error.message;
  throw error;
}
