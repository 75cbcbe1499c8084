import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { pathToFileURL } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { listServers, WANTED_SERVERS } from './catalogue.ts';
import { chooseServer } from './server-binary.ts';
import { findServer, sourceServer, startServer, targetServer } from './start.ts';
import { createTlsFiles } from './tls.ts';

const atHand = await listServers();
// An optional version that is not to be had here has been named by the set-up.
const wantedServers = WANTED_SERVERS.filter((w) => !w.optional || chooseServer(atHand, w) !== undefined);

describe.each(wantedServers)('$kind $version', (wanted) => {
  it('is empty when it starts, and ends with its directory', async () => {
    const server = await findServer(wanted);
    await using running = await startServer({ server });
    const client = running.client();
    const info = await client.info('server');
    const versionField = server.kind === 'valkey' ? 'valkey_version' : 'redis_version';
    expect(info).toContain(`${versionField}:${server.version}`);
    expect(info).toContain(`process_id:${running.pid}`);
    expect(await client.dbsize()).toBe(0);
    await running[Symbol.asyncDispose]();
    expect(existsSync(running.directory)).toBe(false);
    expect(() => process.kill(running.pid, 0)).toThrow('ESRCH');
  });
});

describe('a running server', () => {
  it('comes back on its port with what it saved, and an open client finds it again', async () => {
    await using running = await startServer({ server: await sourceServer() });
    const client = running.client();
    await client.set('kept', 'saved');
    await client.call('SAVE');
    await client.set('kept', 'never saved');
    const { pid, port } = running;
    await running.restart('SIGKILL');
    expect(running.port).toBe(port);
    expect(running.pid).not.toBe(pid);
    expect(await client.get('kept')).toBe('saved');
  });

  it('takes passwords and directives that repeat', async () => {
    const config = { requirepass: 'secret', 'rename-command': ['FLUSHALL ""', 'FLUSHDB ""'] };
    await using running = await startServer({ server: await targetServer(), config });
    const client = running.client(3);
    expect(await client.set('a', 'b')).toBe('OK');
    await expect(client.flushall()).rejects.toThrow(/unknown command/i);
    await expect(client.flushdb()).rejects.toThrow(/unknown command/i);
    expect(await client.info('keyspace')).toContain('db3:keys=1');
  });

  it('starts in cluster mode when asked', async () => {
    await using running = await startServer({ server: await targetServer(), cluster: true });
    expect(await running.client().info('cluster')).toContain('cluster_enabled:1');
  });

  it('answers on its TLS port with a certificate of its own authority', async () => {
    await using files = await createTlsFiles();
    await using running = await startServer({ server: await targetServer(), tls: files });
    const ca = await readFile(files.ca);
    const socket = tls.connect({ host: running.host, port: running.tlsPort, ca });
    const answer = await new Promise<string>((resolve, reject) => {
      socket.once('secureConnect', () => socket.write('PING\r\n'));
      socket.once('data', (data) => resolve(data.toString()));
      socket.once('error', reject);
    });
    socket.destroy();
    expect(answer).toBe('+PONG\r\n');
  });

  it('ends with the process that started it, even when that is killed', async () => {
    const start = pathToFileURL(path.join(import.meta.dirname, 'start.ts')).href;
    const script = `
      import { sourceServer, startServer } from ${JSON.stringify(start)};
      const running = await startServer({ server: await sourceServer() });
      console.log(JSON.stringify({ pid: running.pid, directory: running.directory }));
    `;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const line = await new Promise<string>((resolve, reject) => {
      parent.stdout.once('data', (data: Buffer) => resolve(data.toString()));
      parent.once('exit', (code) => reject(new Error(`The parent ended early with ${code}.`)));
    });
    const { pid, directory } = z.object({ pid: z.number(), directory: z.string() }).parse(JSON.parse(line));
    process.kill(pid, 0);
    parent.kill('SIGKILL');
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), { timeout: 10_000 });
    await rm(directory, { recursive: true });
  });

  it('names the end of its log when a directive is wrong', async () => {
    const server = await sourceServer();
    const start = startServer({ server, config: { 'maxmemory-policy': 'sometimes' } });
    await expect(start).rejects.toThrow(
      /did not come up: it ended with exit code 1[\s\S]*maxmemory-policy sometimes/,
    );
  });

  it('does not start on a port that another has, and says so', async () => {
    const stranger = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => stranger.once('listening', resolve));
    const address = stranger.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const start = startServer({ server: await sourceServer(), port });
    await expect(start).rejects.toThrow(/Address already in use/);
    stranger.close();
  });
});

describe('finding a server', () => {
  it('names the command that fetches what is not at hand', async () => {
    await expect(findServer({ kind: 'redis', version: '1.2' })).rejects.toThrow(
      /no redis 1\.2 at hand \(there is: .*redis 8\.0.*\)\. Fetch it with: npm run servers/,
    );
  });

  it('picks the newest of those that match', async () => {
    const any = await findServer({ kind: 'redis', version: 'newest' });
    const eight = await findServer({ kind: 'redis', version: '8' });
    expect(any).toEqual(eight);
  });
});
