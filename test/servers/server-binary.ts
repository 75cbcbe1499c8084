import { execFile } from 'node:child_process';
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
