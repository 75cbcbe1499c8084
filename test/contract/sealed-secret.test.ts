import { mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sealingHost } from '../../src/action/host/sealing-host.ts';
import { openMigrationStore } from '../../src/agent/job/store.ts';
import type { SecretUse } from '../../src/agent/secret/reading.ts';
import { resolveSecret } from '../../src/agent/secret/resolve.ts';
import { publicKeyOf } from '../../src/agent/secret/sealing-key.ts';
import type { Endpoint, SecretReference } from '../../src/contract/endpoint.ts';
import { type HostCommand, hostCommandSchema } from '../../src/contract/host-commands.ts';

const PASSWORD = 'pl4nted';
const MIGRATION = { migrationId: 'sessions', repository: 'acme/shop' };
const SOURCE: Endpoint = {
  host: 'redis',
  port: 6379,
  tls: true,
  caFile: '/etc/ca.pem',
  username: 'migrator',
};
const never = new AbortController().signal;

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sealed-'));
});
afterEach(() => rm(directory, { recursive: true }));

describe('a password that travels sealed', () => {
  it('opens on the host that made the key, for the migration and the server that it was sealed for', async () => {
    expect(await open(await sealed(), {})).toBe(PASSWORD);
  });

  it.each<[string, Partial<Endpoint>]>([
    ['another server', { host: 'elsewhere' }],
    ['another port', { port: 6380 }],
    ['another user', { username: 'admin' }],
    ['a connection that everybody can read', { tls: false }],
    ['another authority', { caFile: '/tmp/ca.pem' }],
  ])('does not open for %s', async (_, change) => {
    const reference = await sealed();
    await expect(open(reference, { endpoint: { ...SOURCE, ...change } })).rejects.toMatchObject({
      code: 'secret-unreadable',
      message: expect.stringMatching(/env:REDIS_PASSWORD.*sealed for another/),
    });
  });

  it('opens neither for another migration or repository, nor where the key is gone', async () => {
    const reference = await sealed();
    for (const change of [{ migrationId: 'other' }, { repository: 'acme/other' }]) {
      const sealedFor = { ...MIGRATION, directory, ...change };
      await expect(open(reference, { sealedFor })).rejects.toThrow('sealed for another');
    }
    await rm(join(directory, 'sealing-key.pem'));
    await expect(open(reference, {})).rejects.toThrow('no longer has the key');
    await expect(resolveSecret(reference, { env: {}, signal: never })).rejects.toThrow('no migration');
  });

  it('opens for the way back of its migration, and for no migration that is only called so', async () => {
    const reference = await sealed();
    await mkdir(join(directory, 'sessions'));
    await rename(join(directory, 'sealing-key.pem'), join(directory, 'sessions', 'sealing-key.pem'));
    const wayBack = openMigrationStore(join(directory, 'sessions-reverse'));
    const sealedFor = { ...MIGRATION, migrationId: 'sessions-reverse', directory: wayBack.directory };
    const record = { ...MIGRATION, migrationId: 'sessions-reverse', route: 'scan', createdAtMs: 0 } as const;
    const servers = { source: SOURCE, target: SOURCE };
    wayBack.writeMigration({ ...record, ...servers });
    await expect(open(reference, { sealedFor })).rejects.toThrow('no longer has the key');
    wayBack.writeMigration({ ...record, ...servers, wayBackOf: 'sessions' });
    expect(await open(reference, { sealedFor })).toBe(PASSWORD);
    const stranger = { ...sealedFor, repository: 'acme/other' };
    await expect(open(reference, { sealedFor: stranger })).rejects.toThrow('sealed for another');
  });

  it('is sealed by one key for the whole migration, which only its owner can read', async () => {
    const publicKey = publicKeyOf(directory);
    expect(publicKeyOf(directory)).toBe(publicKey);
    expect((await stat(join(directory, 'sealing-key.pem'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(directory, 'sealing-key.pem'), 'utf8')).not.toContain(publicKey);
  });

  it('is asked for before anything is sent when the variable is not set', async () => {
    await expect(sealed({})).rejects.toMatchObject({
      code: 'secret-unreadable',
      message: expect.stringContaining('REDIS_PASSWORD is not set'),
    });
  });
});

/** What of the password reaches a host, when a job that needs it is started there. */
async function sealed(environment: Record<string, string> = { REDIS_PASSWORD: PASSWORD }) {
  const sent: HostCommand[] = [];
  const host = sealingHost(answeringHost(sent), { ...MIGRATION, environment });
  const source: Endpoint = { ...SOURCE, password: { from: 'env', name: 'REDIS_PASSWORD' } };
  await host.call({ command: 'start', ...MIGRATION, job: { kind: 'backup', source, timeoutMs: 1 } });
  const [, start] = sent.map((command) => hostCommandSchema.parse(command));
  expect(JSON.stringify(sent)).not.toContain(PASSWORD);
  const job = start?.command === 'start' ? start.job : undefined;
  if (job?.kind !== 'backup' || job.source.password === undefined) throw new Error('no password was sent');
  return job.source.password;
}

/** A host as far as the sealing asks it. */
function answeringHost(sent: HostCommand[]): Parameters<typeof sealingHost>[0] {
  return {
    description: 'a host',
    privateAddress: () => undefined,
    call: async (command) => {
      sent.push(command);
      return JSON.parse(JSON.stringify({ publicKeyBase64: publicKeyOf(directory) }));
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function open(reference: SecretReference, change: Partial<SecretUse>): Promise<string> {
  const use: SecretUse = { endpoint: SOURCE, sealedFor: { ...MIGRATION, directory }, ...change };
  return (await resolveSecret(reference, { env: {}, signal: never, use })).reveal();
}
