import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type Asker,
  parsePasswordServers,
  requirePasswordServers,
} from '../../../src/agent/host/password-servers.ts';
import { type MigrationStore, openMigrationStore } from '../../../src/agent/job/store.ts';
import type { Endpoint, SecretReference } from '../../../src/contract/endpoint.ts';
import type { HostCommand, MigrationRecord } from '../../../src/contract/host-commands.ts';
import type { JobRequest } from '../../../src/contract/jobs.ts';

const IDENTITY = { migrationId: 'sessions', repository: 'acme/shop' };
const PASSWORD: SecretReference = { from: 'ssm', name: '/redis/source', region: 'eu-west-1' };
const SOURCE: Endpoint = { host: '10.0.0.7', port: 6379, tls: false, password: PASSWORD };
const TARGET: Endpoint = { host: 'sessions.example', port: 6379, tls: true };

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function newStore(): MigrationStore {
  const directory = mkdtempSync(join(tmpdir(), 'password-servers-'));
  directories.push(directory);
  return openMigrationStore(directory);
}

function looking(source: Endpoint): HostCommand {
  const job: JobRequest = { kind: 'stragglers', source, watchMs: 0 };
  return { command: 'start', ...IDENTITY, job };
}

/** What a command ends with for somebody: undefined where it passes. */
function refusalOf(command: HostCommand, store: MigrationStore, asker: Asker): string | undefined {
  try {
    requirePasswordServers(command, store, asker);
    return undefined;
  } catch (error) {
    expect(error).toMatchObject({ code: 'password-server-unknown' });
    return (error as Error).message;
  }
}

const READ: Asker = { access: 'read' };
const CUTOVER: Asker = { access: 'cutover' };
const CHANGE: Asker = { access: 'change' };

describe('a named password, where the document names no servers', () => {
  it('is shown to the server for which the document for changes has named it, and to no other', () => {
    const store = newStore();
    expect(refusalOf(looking(SOURCE), store, READ)).toContain('may be shown to no server');
    expect(refusalOf(looking(SOURCE), store, CHANGE)).toBeUndefined();
    for (const asker of [READ, CUTOVER]) {
      expect(refusalOf(looking(SOURCE), store, asker)).toBeUndefined();
      for (const other of [
        { host: '10.0.0.8' },
        { port: 6380 },
        { password: { ...PASSWORD, name: '/billing/api' } },
        { password: { ...PASSWORD, region: 'eu-west-2' } },
        { password: { from: 'file', path: '/etc/shadow' } },
        { password: { from: 'env', name: 'AWS_SECRET_ACCESS_KEY' } },
      ] as const)
        expect(refusalOf(looking({ ...SOURCE, ...other }), store, asker)).toBeDefined();
    }
  });

  it('is known in another migration only once it was named there', () => {
    expect(refusalOf(looking(SOURCE), newStore(), CHANGE)).toBeUndefined();
    expect(refusalOf(looking(SOURCE), newStore(), READ)).toBeDefined();
  });

  it('is never shown with less TLS than it was named with, and with more always', () => {
    const store = newStore();
    const guarded: Endpoint = { ...SOURCE, port: 6380, tls: true, caFile: '/etc/ca.pem' };
    requirePasswordServers(looking(SOURCE), store, CHANGE);
    requirePasswordServers(looking(guarded), store, CHANGE);
    expect(refusalOf(looking({ ...SOURCE, tls: true }), store, READ)).toBeUndefined();
    expect(refusalOf(looking(guarded), store, READ)).toBeUndefined();
    expect(refusalOf(looking({ ...guarded, tls: false }), store, READ)).toContain('without TLS');
    expect(refusalOf(looking({ ...guarded, caFile: '/tmp/own.pem' }), store, READ)).toBeDefined();
  });

  it('is known by the record of the migration, and still after the migration was forgotten', () => {
    const store = newStore();
    const open: HostCommand = {
      command: 'open',
      ...IDENTITY,
      route: 'replica',
      source: SOURCE,
      target: TARGET,
    };
    requirePasswordServers(open, store, CHANGE);
    store.writeMigration(recordOf({ source: SOURCE, target: TARGET }));
    expect(refusalOf(looking(SOURCE), store, READ)).toBeUndefined();
    store.forgetMigration();
    expect(refusalOf(looking(SOURCE), store, READ)).toBeUndefined();
  });

  it('is for the server of a keeper as for that of its cutover', () => {
    const cutover = {
      kind: 'cutover',
      source: SOURCE,
      target: TARGET,
      route: 'replica',
      maxDifferences: 0,
      ttlToleranceMs: 0,
      keyDisplay: 'hidden',
      maxVerificationAgeMs: 1,
      maxWritePauseMs: 1,
    } as const;
    const keeper: HostCommand = { command: 'start', ...IDENTITY, job: { kind: 'keeper', cutover } };
    expect(refusalOf(keeper, newStore(), CUTOVER)).toContain('10.0.0.7:6379');
  });

  it('has its servers forgotten from the oldest on, when more are named than a migration has', () => {
    const store = newStore();
    for (let port = 1; port <= 33; port += 1)
      requirePasswordServers(looking({ ...SOURCE, port }), store, CHANGE);
    expect(refusalOf(looking({ ...SOURCE, port: 1 }), store, READ)).toBeDefined();
    expect(refusalOf(looking({ ...SOURCE, port: 2 }), store, READ)).toBeUndefined();
    expect(refusalOf(looking({ ...SOURCE, port: 33 }), store, READ)).toBeUndefined();
  });

  it('asks nothing of a server without one, nor of a sealed one, which opens for its server alone', () => {
    const { password: _, ...open } = SOURCE;
    const sealed: SecretReference = { from: 'sealed', name: 'PASSWORD', sealedBase64: 'AAAA' };
    for (const source of [open, { ...open, password: sealed }])
      expect(refusalOf(looking(source), newStore(), READ)).toBeUndefined();
  });
});

describe('a named password, where the document names servers', () => {
  const passwordServers = parsePasswordServers(
    '10.0.0.7:6379=ssm:/redis/source, rediss://[::1]:6380=secretsmanager:arn:aws:x:y=z#p',
  );

  it('is shown to those alone, whoever asks', () => {
    for (const access of ['read', 'change', 'cutover', undefined] as const) {
      const asker = { access, passwordServers };
      const store = newStore();
      store.writeMigration(recordOf({ source: { ...SOURCE, port: 1 }, target: TARGET }));
      expect(refusalOf(looking(SOURCE), store, asker)).toBeUndefined();
      expect(refusalOf(looking({ ...SOURCE, tls: true }), store, asker)).toBeUndefined();
      expect(refusalOf(looking({ ...SOURCE, port: 1 }), store, asker)).toContain(
        'may be shown to 10.0.0.7:6379.',
      );
    }
  });

  it('is shown with TLS only where they say rediss', () => {
    const password: SecretReference = {
      from: 'secretsmanager',
      name: 'arn:aws:x:y=z',
      field: 'p',
      region: 'eu-west-1',
    };
    const guarded: Endpoint = { host: '::1', port: 6380, tls: true, password };
    const asker = { access: 'read', passwordServers } as const;
    expect(refusalOf(looking(guarded), newStore(), asker)).toBeUndefined();
    expect(refusalOf(looking({ ...guarded, tls: false }), newStore(), asker)).toContain(
      'without TLS, and may be shown to rediss://[::1]:6380.',
    );
  });

  it('of a way back, which the host has made itself, is shown to its server as well', () => {
    const store = newStore();
    const source: Endpoint = { ...SOURCE, password: { from: 'file', path: '/state/way-back' } };
    store.writeMigration({ ...recordOf({ source: TARGET, target: source }), wayBackOf: 'sessions' });
    const asker = { access: 'read', passwordServers } as const;
    expect(refusalOf(looking(source), store, asker)).toBeUndefined();
    expect(refusalOf(looking({ ...source, port: 1 }), store, asker)).toBeDefined();
  });

  it.each(['10.0.0.7:6379', '=ssm:/x', '10.0.0.7:99999=ssm:/x', '10.0.0.7:6379=', ''])(
    'is not guessed from %j',
    (text) => {
      expect(() => parsePasswordServers(text)).toThrow(expect.objectContaining({ code: 'input-malformed' }));
    },
  );
});

function recordOf(servers: Pick<MigrationRecord, 'source' | 'target'>): MigrationRecord {
  return { ...IDENTITY, route: 'replica', ...servers, createdAtMs: 1 };
}
