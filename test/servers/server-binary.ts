import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';

/** One server program: what it is and the argv prefix that runs it (a loader with its libraries, or just a path). */
export const serverBinarySchema = z.object({
  kind: z.enum(['redis', 'valkey']),
  version: z.string().regex(/^\d+\.\d+\.\d+$/),
  command: z.array(z.string().min(1)).min(1).readonly(),
});

/** One server program, identified by running it; `version` is the full `major.minor.patch`. */
export type ServerBinary = Readonly<z.infer<typeof serverBinarySchema>>;

/** What a caller asks for; `version` is a dotted prefix such as `8` or `8.0`, or `newest`. */
export type WantedServer = { readonly kind: ServerBinary['kind']; readonly version: string };

/** What a source of servers (images, packages) needs from its caller. */
export type ServerFetch = {
  /** Where each thing that is fetched gets a folder of its own. */
  readonly directory: string;
  /** Whether a server of this kind and version prefix is still wanted; asked before each step. */
  readonly isWanted: (kind: ServerBinary['kind'], version: string) => boolean;
  /** Called with each server as soon as it has answered `--version`. */
  readonly found: (server: ServerBinary) => Promise<void>;
  /** Called with one line per step. */
  readonly report: (line: string) => void;
};

const run = promisify(execFile);

/** Runs `<command> --version` and says what it is; throws when it is neither Redis nor Valkey. */
export async function identifyServer(command: readonly string[]): Promise<ServerBinary> {
  const [file, ...prefix] = command;
  if (file === undefined) throw new Error('An empty command is no server.');
  const { stdout } = await run(file, [...prefix, '--version'], { timeout: 10_000 });
  const answer = /^(Redis|Valkey) server v=(\d+\.\d+\.\d+)/.exec(stdout);
  const [, product, version] = answer ?? [];
  if (product === undefined || version === undefined) {
    throw new Error(
      `${command.join(' ')} --version answers ${JSON.stringify(stdout.slice(0, 200))}: no server.`,
    );
  }
  return { kind: product === 'Redis' ? 'redis' : 'valkey', version, command };
}

/**
 * The argv that starts `binary` by the loader that lies in one of the folders `libraries`: a program of another
 * release needs that release's libc, and that libc only works with its own loader. Throws when there is no loader.
 */
export async function loaderCommand(libraries: readonly string[], binary: string): Promise<string[]> {
  for (const folder of libraries) {
    const loader = (await readdir(folder)).find((name) => /^ld-linux.*\.so\.\d+$/.test(name));
    if (loader === undefined) continue;
    return [path.join(folder, loader), '--library-path', libraries.join(':'), binary];
  }
  throw new Error(`There is no loader of glibc beside ${path.basename(binary)}.`);
}

/** The best match among `servers`: the highest version with the wanted prefix, the earlier one among equals. */
export function chooseServer(
  servers: readonly ServerBinary[],
  wanted: WantedServer,
): ServerBinary | undefined {
  const matching = servers.filter(
    (server) =>
      server.kind === wanted.kind &&
      (wanted.version === 'newest' || `${server.version}.`.startsWith(`${wanted.version}.`)),
  );
  return matching.sort((a, b) => compareVersions(b.version, a.version))[0];
}

/** Orders dotted versions by number; a missing part counts as 0. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let part = 0; part < Math.max(left.length, right.length); part++) {
    const difference = (left[part] ?? 0) - (right[part] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
