import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import {
  chmod,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FETCH_COMMAND, listServers } from './catalogue.ts';
import { fetchFromImages } from './docker-images.ts';
import { chooseServer, type ServerBinary, type WantedServer } from './server-binary.ts';
import { startServer } from './start.ts';

const PROJECT = path.resolve(import.meta.dirname, '../..');
/** What the stand-in and the script inside an image call. */
const TOOLS = ['sh', 'sed', 'tar', 'tr', 'ldd'];

// Before PATH is narrowed to the tools above: a server may be at hand only there.
const atHand = await listServers();

let directory = '';
let bin = '';
let calls = '';
beforeEach(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-docker-'));
  bin = path.join(directory, 'bin');
  calls = path.join(directory, 'calls');
  await mkdir(bin);
  await mkdir(path.join(directory, 'fetched'));
  for (const tool of TOOLS) await symlink(findTool(tool), path.join(bin, tool));
  vi.stubEnv('PATH', bin);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true });
});

describe('fetching servers from images', () => {
  it('takes the program and its load generator with libraries and loader out of the image, and it runs here without it', async () => {
    await standInForDocker();
    await makeImage('redis:8.0', redis80());
    const { found, failures } = await fetchWanted({ kind: 'redis', version: '8.0' });
    expect(failures).toEqual([]);
    await rm(path.join(directory, 'images'), { recursive: true });

    const [server] = found;
    if (server === undefined) throw new Error('Nothing was found.');
    const [loader = '', , libraries = '', program = ''] = server.command;
    const [folder = ''] = await readdir(path.join(directory, 'fetched'));
    expect(libraries).toBe(path.join(directory, 'fetched', folder));
    expect([path.dirname(loader), path.dirname(program)]).toEqual([libraries, libraries]);
    const files = await readdir(libraries);
    const expected = ['redis-server', 'redis-benchmark', 'libc.so.6', path.basename(loader)];
    expect(files).toEqual(expect.arrayContaining(expected));
    expect(files).not.toContain('image.tar');
    for (const file of files) expect((await lstat(path.join(libraries, file))).isFile()).toBe(true);

    await using running = await startServer({ server });
    const mapped = await readFile(`/proc/${running.pid}/maps`, 'utf8');
    const libc = mapped.split('\n').filter((line) => line.includes('/libc.so.6'));
    expect(libc.length).toBeGreaterThan(0);
    for (const line of libc) expect(line).toContain(libraries);
    expect(await running.client().info('server')).toContain(`redis_version:${server.version}`);
  });

  it("finds libraries by the image's own ldd, and refuses a program that is no server", async () => {
    await standInForDocker();
    const image = await makeImageFolder('redis:7.0');
    await symlink(findTool('tar'), path.join(image, 'redis-server'));
    const { found, failures } = await fetchWanted({ kind: 'redis', version: '7.0' });
    expect(found).toEqual([]);
    expect(failures).toEqual([
      expect.stringMatching(/^docker image redis:7\.0: .*redis-server --version answers "tar .*: no server/),
    ]);
    expect(await readdir(path.join(directory, 'fetched'))).toEqual([]);
  });

  it('refuses an image that holds another version than its tag says', async () => {
    await standInForDocker();
    const server = redis80();
    await makeImage('redis:7.0', server);
    const { found, failures } = await fetchWanted({ kind: 'redis', version: '7.0' });
    expect(found).toEqual([]);
    expect(failures).toEqual([`docker image redis:7.0: it holds redis ${server.version}, not redis 7.0`]);
  });

  it('tries the next image of a version when one cannot be pulled, in the words of the client', async () => {
    await standInForDocker();
    const { failures } = await fetchWanted({ kind: 'valkey', version: '8' });
    expect(failures).toEqual([
      'docker image valkey/valkey:8.1: Error response from daemon: no image valkey/valkey:8.1',
      'docker image valkey/valkey:8.0: Error response from daemon: no image valkey/valkey:8.0',
    ]);
  });

  it('passes over an engine that does not answer in time, and ends its client', async () => {
    const pidFile = path.join(directory, 'pid');
    await symlink(findTool('sleep'), path.join(bin, 'sleep'));
    await standInForDocker(`echo $$ >'${pidFile}'; exec sleep 600`);
    const { failures, lines } = await fetchWanted({ kind: 'redis', version: '7.0' });
    expect(failures).toEqual(['docker: no engine answers (not within 3 s)']);
    expect(lines).toEqual(failures);
    expect(await readFile(calls, 'utf8')).toBe('info\n');
    const pid = Number(await readFile(pidFile, 'utf8'));
    expect(pid).toBeGreaterThan(0);
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'));
  });

  it('passes over a client without an engine, and a machine without a client', async () => {
    const withoutClient = await fetchWanted({ kind: 'redis', version: '7.0' });
    expect(withoutClient.failures).toEqual(['docker: this machine has no docker command']);
    await standInForDocker('echo Is the daemon running? >&2; exit 1');
    const withoutEngine = await fetchWanted({ kind: 'redis', version: '7.0' });
    expect(withoutEngine.failures).toEqual(['docker: no engine answers (Is the daemon running?)']);
    expect(withoutEngine.lines).toEqual(withoutEngine.failures);
    expect(await readFile(calls, 'utf8')).toBe('info\n');
  });
});

describe('the catalogue', () => {
  it('leaves the packages alone when the images hold all that is wanted', async (context) => {
    await standInForDocker();
    const images = {
      'redis:7.0': '7.0',
      'redis:8.0': '8.0',
      'valkey/valkey:8.1': '8',
      'valkey/valkey:9': '9',
    };
    for (const [image, version] of Object.entries(images)) {
      const wanted: WantedServer = { kind: image.startsWith('redis') ? 'redis' : 'valkey', version };
      const server = chooseServer(atHand, wanted);
      if (server === undefined) context.skip(`${wanted.kind} ${version} is not to be had here`);
      else await makeImage(image, server);
    }
    const { code, stdout, stderr } = await runServersScript();
    expect(stderr).not.toMatch(/packages|package lists/);
    expect(code).toBe(0);
    const versions = [...stdout.matchAll(/^(\w+) +(\d+)\..*\/\.cache\/servers\/(\S+)-\w+\/\w+-server$/gm)];
    expect(versions.map(([, kind, major, folder]) => [kind, major, folder])).toEqual([
      ['redis', '7', 'redis-7.0'],
      ['redis', '8', 'redis-8.0'],
      ['valkey', '8', 'valkey-8'],
      ['valkey', '9', 'valkey-9'],
    ]);
    await rm(path.join(directory, 'images'), { recursive: true });
    // Everything is at hand now, so the second run asks nobody.
    await rm(calls);
    expect((await runServersScript()).stdout).toBe(stdout);
    expect(existsSync(calls)).toBe(false);
  });

  it('tries the packages after images that cannot be pulled, and lists all that was tried', async () => {
    await standInForDocker();
    const { code, stderr } = await runServersScript();
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /no server program for redis 7\.0, redis 8\.0, valkey newest\. Tried:\n.*PATH: nothing that fits\n(?: {2}docker image \S+: Error response .*\n){5}(?: {2}packages.*\n)+Put such/,
    );
  });
});

function redis80(): ServerBinary {
  const server = chooseServer(atHand, { kind: 'redis', version: '8.0' });
  if (server === undefined) throw new Error(`There is no redis 8.0 at hand. Fetch it with: ${FETCH_COMMAND}`);
  return server;
}

async function fetchWanted(wanted: WantedServer) {
  const found: ServerBinary[] = [];
  const lines: string[] = [];
  const failures = await fetchFromImages({
    directory: path.join(directory, 'fetched'),
    isWanted: (kind, version) => found.length === 0 && kind === wanted.kind && version === wanted.version,
    found: async (server) => {
      found.push(server);
    },
    report: (line) => {
      lines.push(line);
    },
  });
  return { found, failures, lines };
}

/**
 * A docker whose images are folders: `run` gives the entry point a PATH on which the folder comes first.
 * `info` is what it does for `docker info`.
 */
async function standInForDocker(info = 'exit 0'): Promise<void> {
  const file = path.join(bin, 'docker');
  const script = `#!/bin/sh
echo "$1" >>'${calls}'
if [ "$1" = info ]; then ${info}; fi
while [ "$1" != --entrypoint ]; do shift; done
entrypoint=$2 image=$3
shift 3
folder='${directory}/images/'$(echo "$image" | tr :/ __)
echo "Unable to find image '$image' locally" >&2
if ! [ -d "$folder" ]; then
  printf 'docker: Error response from daemon: no image %s\\n\\nRun docker run --help for more\\n' "$image" >&2
  exit 125
fi
PATH="$folder:$PATH" exec "$entrypoint" "$@"
`;
  await writeFile(file, script);
  await chmod(file, 0o755);
}

async function makeImageFolder(image: string): Promise<string> {
  const folder = path.join(directory, 'images', image.replace(/[:/]/g, '_'));
  await mkdir(folder, { recursive: true });
  return folder;
}

/** In a real image ldd asks the image's loader; for a server with a loader of its own, so does this one. */
async function makeImage(image: string, server: ServerBinary): Promise<void> {
  const folder = await makeImageFolder(image);
  const [loader = '', option, libraries, program] = server.command;
  await symlink(program ?? loader, path.join(folder, `${server.kind}-server`));
  // Any program of this machine may stand in for the load generator: it is only taken out.
  await symlink(findTool('tar'), path.join(folder, `${server.kind}-benchmark`));
  if (program === undefined) return;
  const ldd = path.join(folder, 'ldd');
  await writeFile(ldd, `#!/bin/sh\nexec '${loader}' ${option} '${libraries}' --list "$1"\n`);
  await chmod(ldd, 0o755);
}

/** Runs `npm run servers` in a copy of its own, so that it finds nothing but what is on the stubbed PATH. */
async function runServersScript() {
  const project = path.join(directory, 'project');
  const servers = path.join('test', 'servers');
  await cp(path.join(PROJECT, servers), path.join(project, servers), { recursive: true });
  await cp(path.join(PROJECT, 'scripts/servers.ts'), path.join(project, 'scripts/servers.ts'));
  await cp(path.join(PROJECT, 'package.json'), path.join(project, 'package.json'));
  const modules = path.join(project, 'node_modules');
  if (!existsSync(modules)) await symlink(path.join(PROJECT, 'node_modules'), modules);
  const child = spawn(process.execPath, ['scripts/servers.ts'], {
    cwd: project,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: child.exitCode, stdout, stderr };
}

function findTool(name: string): string {
  const file = ['/usr/bin', '/bin']
    .map((folder) => path.join(folder, name))
    .find((candidate) => existsSync(candidate));
  if (file === undefined) throw new Error(`This machine has no ${name}.`);
  return file;
}
