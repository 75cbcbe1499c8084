import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import {
  type Endpoint,
  endpointSchema,
  formatAddress,
  parseAddress,
  type SecretReference,
} from '../../contract/endpoint.ts';
import type { HostCommand } from '../../contract/host-commands.ts';
import { MigrationError } from '../../core/errors.ts';
import { readJsonIfThere, writeFileAtomically } from '../job/files.ts';
import type { MigrationStore } from '../job/store.ts';
import { secretName } from '../secret/reading.ts';
import type { AccessLevel } from './access.ts';

/** A server that a password may be shown to, as a document of Systems Manager says it. */
export type PasswordServer = {
  readonly host: string;
  readonly port: number;
  readonly isTlsOnly: boolean;
  /** As inputs name it: `ssm:/redis/source`. */
  readonly password: string;
};

/** Who asks: what the document says of its user. Without a document both are undefined, and whoever asks is root. */
export type Asker = {
  readonly access?: AccessLevel | undefined;
  readonly passwordServers?: readonly PasswordServer[] | undefined;
};

/** The most servers that are known of a migration; the oldest is forgotten first. */
const KNOWN_MAX = 32;

/**
 * Refuses to show a password to a server that nobody with the right to say so has named for it.
 *
 * The host reads a named password with its own role, whoever asks: a caller that may only look could name any password of
 * the account and a server of its own. So the pairs stand in the document, or are those that came by the document for
 * changes, which this remembers. A sealed password opens for one server anyway.
 *
 * @throws password-server-unknown
 */
export function requirePasswordServers(
  command: HostCommand,
  store: MigrationStore,
  { access, passwordServers }: Asker,
): void {
  const asked = endpointsOf(command).filter(hasNamedPassword);
  if (asked.length === 0) return;
  if (passwordServers !== undefined) {
    const ownRecord = store.readMigration()?.wayBackOf === undefined ? [] : recorded(store);
    for (const endpoint of asked) {
      const isListed = passwordServers.some((listed) => isListedAs(endpoint, listed));
      if (!isListed && !isKnown(endpoint, ownRecord)) throw unlisted(endpoint, passwordServers);
    }
    return;
  }
  const known = [...recorded(store), ...readKnown(store)];
  const unknown = asked.filter((endpoint) => !isKnown(endpoint, known));
  const [first] = unknown;
  if (first === undefined) return;
  if (access === 'read' || access === 'cutover') throw unknownTo(access, first, known);
  const named = [...readKnown(store), ...unknown].slice(-KNOWN_MAX);
  writeFileAtomically(knownPath(store), JSON.stringify(named));
}

/**
 * Reads the pairs that a document holds: `host:port=NAME` or `rediss://host:port=NAME`, with commas between them.
 *
 * @throws input-malformed
 */
export function parsePasswordServers(text: string): PasswordServer[] {
  return text.split(',').map((item) => {
    const [, scheme, server = '', password = ''] = /^(rediss:\/\/)?([^=]*)=(.+)$/.exec(item.trim()) ?? [];
    const address = parseAddress(server);
    if (address !== undefined) return { ...address, isTlsOnly: scheme !== undefined, password };
    throw new MigrationError(
      'input-malformed',
      `PasswordServers of the document holds "${item}", which is no host:port=NAME.`,
    );
  });
}

type NamedEndpoint = Endpoint & { password: SecretReference };

function hasNamedPassword(endpoint: Endpoint): endpoint is NamedEndpoint {
  return endpoint.password !== undefined && endpoint.password.from !== 'sealed';
}

/** The servers that a command names. */
function endpointsOf(command: HostCommand): Endpoint[] {
  const named = 'job' in command ? command.job : command;
  const pair = 'cutover' in named ? named.cutover : named;
  return [...('source' in pair ? [pair.source] : []), ...('target' in pair ? [pair.target] : [])];
}

function isListedAs(endpoint: NamedEndpoint, listed: PasswordServer): boolean {
  return (
    isSameAddress(endpoint, listed) &&
    secretName(endpoint.password) === listed.password &&
    (endpoint.tls || !listed.isTlsOnly)
  );
}

/** As it is known, or with TLS where it is known without. */
function isKnown(endpoint: NamedEndpoint, known: readonly Endpoint[]): boolean {
  return known.some(
    (other) =>
      isSameAddress(endpoint, other) &&
      isDeepStrictEqual(endpoint.password, other.password) &&
      (!other.tls || (endpoint.tls && endpoint.caFile === other.caFile)),
  );
}

function isSameAddress(one: { host: string; port: number }, other: { host: string; port: number }): boolean {
  return formatAddress(one).toLowerCase() === formatAddress(other).toLowerCase();
}

/** The servers of the migration itself: only the document for changes makes one. */
function recorded(store: MigrationStore): Endpoint[] {
  const migration = store.readMigration();
  return migration === undefined ? [] : [migration.source, migration.target];
}

function readKnown(store: MigrationStore): Endpoint[] {
  const content = readJsonIfThere(knownPath(store));
  // What was not written by this agent is not relied on: the servers are named once more.
  return z.array(endpointSchema).safeParse(content).data ?? [];
}

function knownPath({ directory }: MigrationStore): string {
  return `${directory}/password-servers.json`;
}

function unlisted(endpoint: NamedEndpoint, listed: readonly PasswordServer[]): MigrationError {
  const password = secretName(endpoint.password);
  const servers = listed
    .filter((item) => item.password === password)
    .map((item) => `${item.isTlsOnly ? 'rediss://' : ''}${formatAddress(item)}`);
  const server = formatAddress(endpoint);
  return new MigrationError('password-server-unknown', refusal(endpoint, servers), {
    remedy: `Where that is the right server, add \`${server}=${password}\` to \`PasswordServers\` of templates/identity.yaml.`,
  });
}

function unknownTo(access: AccessLevel, endpoint: NamedEndpoint, known: readonly Endpoint[]): MigrationError {
  const servers = known
    .filter(({ password }) => isDeepStrictEqual(password, endpoint.password))
    .map((other) => `${formatAddress(other)}${other.tls ? ' with TLS' : ''}`);
  return new MigrationError(
    'password-server-unknown',
    `${refusal(endpoint, servers)} The document for ${access} cannot name another one.`,
  );
}

function refusal(endpoint: NamedEndpoint, servers: readonly string[]): string {
  const allowed = servers.length === 0 ? 'no server' : [...new Set(servers)].join(', ');
  const asked = `${formatAddress(endpoint)}${endpoint.tls ? '' : ', without TLS'}`;
  return `The password ${secretName(endpoint.password)} was asked for ${asked}, and may be shown to ${allowed}.`;
}
