import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  chooseServer,
  identifyServer,
  loaderCommand,
  type ServerBinary,
  type ServerFetch,
  type WantedServer,
} from './server-binary.ts';

/**
 * Images by the version they are taken for; the second one of a version is for where the first is not to be had.
 * Only tags built on Debian: the loader of another libc is not found by {@link loaderCommand}.
 */
const IMAGES: readonly (WantedServer & { readonly image: string })[] = [
  { kind: 'redis', version: '7.0', image: 'redis:7.0' },
  { kind: 'redis', version: '8.0', image: 'redis:8.0' },
  { kind: 'valkey', version: '8', image: 'valkey/valkey:8.1' },
  { kind: 'valkey', version: '8', image: 'valkey/valkey:8.0' },
  { kind: 'valkey', version: '9', image: 'valkey/valkey:9' },
];

/** An engine that is there answers at once; one behind a dead connection may never. */
const ENGINE_LIMIT_MS = 3_000;
/** For all images together: a network that swallows pulls must not keep the packages waiting for each of them. */
const FETCH_LIMIT_MS = 600_000;
const STDERR_MAX_CHARS = 10_000;

/**
 * Runs in the image with the program's name as $1: writes a tar of the program, its load generator where there is one,
 * their libraries and loader to stdout, links followed, all in one folder. A line of ldd is one of
 *   NAME => PATH (ADDRESS)   PATH (ADDRESS)   NAME (ADDRESS)   NAME => not found
 * and only the paths are taken.
 */
const EXPORT_SCRIPT = `
set -eu
server=$(command -v "$1")
benchmark=$(command -v "\${1%-server}-benchmark" || true)
libraries=$(ldd "$server" && { test -z "$benchmark" || ldd "$benchmark"; })
printf '%s\\n' "$server" "$benchmark" "$libraries" |
  sed -n 's/.* => //; s/^[[:space:]]*//; s/ (0x[0-9a-f]*)$//; /^\\//p' |
  tar --create --file=- --dereference --transform='s|.*/||' --files-from=-
`;

const run = promisify(execFile);

/**
 * Takes servers out of their images where a Docker engine answers. Nothing is left running: a container only hands
 * out the files, which then run here as processes of our own. Returns one line for each thing that did not work.
 */
export async function fetchFromImages(fetch: ServerFetch): Promise<readonly string[]> {
  const obstacle = await findObstacle();
  if (obstacle !== undefined) {
    fetch.report(obstacle);
    return [obstacle];
  }
  const failures: string[] = [];
  const signal = AbortSignal.timeout(FETCH_LIMIT_MS);
  for (const wanted of IMAGES) {
    if (!fetch.isWanted(wanted.kind, wanted.version)) continue;
    fetch.report(`docker image ${wanted.image}: fetching`);
    try {
      const server = await fetchImage({ ...wanted, directory: fetch.directory, signal });
      fetch.report(`docker image ${wanted.image}: ${server.kind} ${server.version} runs`);
      await fetch.found(server);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const failure = `docker image ${wanted.image}: ${message.trim().replace(/\s+/g, ' ').slice(0, 800)}`;
      fetch.report(failure);
      failures.push(failure);
    }
  }
  return failures;
}

/** Says why no image can be had from this machine, or nothing when an engine answers. */
async function findObstacle(): Promise<string | undefined> {
  const signal = AbortSignal.timeout(ENGINE_LIMIT_MS);
  try {
    await runDocker({ args: ['info'], signal, stdout: 'ignore' });
    return undefined;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return 'docker: this machine has no docker command';
    const reason = signal.aborted
      ? `not within ${ENGINE_LIMIT_MS / 1000} s`
      : error instanceof Error
        ? error.message
        : String(error);
    return `docker: no engine answers (${reason})`;
  }
}

type ImageFetch = (typeof IMAGES)[number] & { directory: string; signal: AbortSignal };

async function fetchImage(fetch: ImageFetch): Promise<ServerBinary> {
  const { kind, version, image, signal } = fetch;
  const program = `${kind}-server`;
  const root = await mkdtemp(path.join(fetch.directory, `${kind}-${version}-`));
  try {
    const archive = path.join(root, 'image.tar');
    await exportProgram({ image, program, archive, signal });
    await run('tar', ['-x', '-f', archive, '-C', root, '--no-same-owner']);
    await rm(archive);
    const server = await identifyServer(await loaderCommand([root], path.join(root, program)));
    if (chooseServer([server], fetch) === undefined)
      throw new Error(`it holds ${server.kind} ${server.version}, not ${kind} ${version}`);
    return server;
  } catch (error) {
    await rm(root, { recursive: true, force: true });
    throw signal.aborted ? new Error(`not within ${FETCH_LIMIT_MS / 1000} s for all images`) : error;
  }
}

type Export = { image: string; program: string; archive: string; signal: AbortSignal };

async function exportProgram({ image, program, archive, signal }: Export): Promise<void> {
  await using file = await open(archive, 'w');
  const container = ['--rm', '--network', 'none', '--entrypoint', 'sh', image];
  const script = ['-c', EXPORT_SCRIPT, 'sh', program];
  await runDocker({ args: ['run', ...container, ...script], signal, stdout: file.fd });
}

type DockerRun = { args: readonly string[]; signal: AbortSignal; stdout: 'ignore' | number };

/** Throws with the client's own words when it fails, and ENOENT when there is none. */
async function runDocker({ args, signal, stdout }: DockerRun): Promise<void> {
  const child = spawn('docker', args, { stdio: ['ignore', stdout, 'pipe'], signal, killSignal: 'SIGKILL' });
  let complaints = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    complaints = (complaints + chunk.toString()).slice(-STDERR_MAX_CHARS);
  });
  try {
    await once(child, 'close');
  } finally {
    // What the killed client started may hold the pipe open, and with it this process.
    child.stderr?.destroy();
  }
  if (child.exitCode !== 0) throw new Error(pickComplaint(complaints) ?? `exit code ${child.exitCode}`);
}

/** The client's own error, else the last thing the container said; progress of the pull and hints are left out. */
function pickComplaint(text: string): string | undefined {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.find((line) => line.startsWith('docker: '))?.slice('docker: '.length) ?? lines.at(-1);
}
