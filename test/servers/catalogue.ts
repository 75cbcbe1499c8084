import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { fetchFromDistribution } from './distribution-packages.ts';
import { fetchFromImages } from './docker-images.ts';
import {
  chooseServer,
  identifyServer,
  type ServerBinary,
  serverBinarySchema,
  type WantedServer,
} from './server-binary.ts';

/** The command that fetches every server the tests and the demo use. */
export const FETCH_COMMAND = 'npm run servers';

/**
 * The versions the tests and the demo want; without an optional one the suites that need it say so.
 * Valkey 8 is optional only because a distribution may carry Valkey 9 alone: some Valkey there must be.
 */
export const WANTED_SERVERS: readonly (WantedServer & { readonly optional: boolean })[] = [
  { kind: 'redis', version: '7.0', optional: false },
  { kind: 'redis', version: '8.0', optional: false },
  { kind: 'valkey', version: 'newest', optional: false },
  { kind: 'valkey', version: '8', optional: true },
  { kind: 'valkey', version: '9', optional: true },
];

/** Where servers come from that are not on PATH; each is asked only for what the ones before it lacked. */
const SOURCES = [fetchFromImages, fetchFromDistribution];

const SERVERS_DIRECTORY = path.resolve(import.meta.dirname, '../../.cache/servers');
const MANIFEST = path.join(SERVERS_DIRECTORY, 'manifest.json');
const manifestSchema = z.object({
  servers: z.array(serverBinarySchema),
  /** Optional versions that were looked for in vain, so that the next run does not look again. */
  absent: z.array(z.string()),
});
type Manifest = z.infer<typeof manifestSchema>;

/** The servers at hand, fetched ones first, then those on PATH; starts nothing but `--version`. */
export async function listServers(): Promise<readonly ServerBinary[]> {
  return [...(await readManifest()).servers, ...(await findOnPath())];
}

/**
 * Makes every wanted server available, fetching what is missing, and returns all that are at hand.
 * `report` gets one line per step. Throws when a version that is not optional could not be had.
 */
export async function provideServers(report: (line: string) => void): Promise<readonly ServerBinary[]> {
  let servers = await listServers();
  const { absent } = await readManifest();
  if (missingFrom(servers).every((wanted) => wanted.optional && absent.includes(nameOf(wanted))))
    return servers;
  await mkdir(SERVERS_DIRECTORY, { recursive: true });
  const failures: string[] = [];
  for (const fetchFrom of SOURCES) {
    if (missingFrom(servers).length === 0) break;
    const complaints = await fetchFrom({
      directory: SERVERS_DIRECTORY,
      isWanted: (kind, version) => chooseServer(servers, { kind, version }) === undefined,
      found: async (server) => {
        await addToManifest(server);
        servers = await listServers();
      },
      report,
    });
    failures.push(...complaints);
  }
  const missing = missingFrom(servers);
  await writeManifest({ ...(await readManifest()), absent: missing.map(nameOf) });
  const required = missing.filter((wanted) => !wanted.optional);
  if (required.length > 0) throw new Error(explainMissing(required, failures));
  for (const wanted of missing) {
    report(
      `${nameOf(wanted)} is not to be had here: going on without it (to look again, remove .cache/servers)`,
    );
  }
  return servers;
}

function explainMissing(required: readonly WantedServer[], failures: readonly string[]): string {
  return [
    `There is no server program for ${required.map(nameOf).join(', ')}. Tried:`,
    `  ${SERVERS_DIRECTORY} and PATH: nothing that fits`,
    ...failures.map((failure) => `  ${failure}`),
    `Put such a redis-server and valkey-server on PATH, or run "${FETCH_COMMAND}" again when images or packages can be fetched.`,
  ].join('\n');
}

function missingFrom(servers: readonly ServerBinary[]): (WantedServer & { optional: boolean })[] {
  return WANTED_SERVERS.filter((wanted) => chooseServer(servers, wanted) === undefined);
}

function nameOf({ kind, version }: WantedServer): string {
  return `${kind} ${version}`;
}

async function readManifest(): Promise<Manifest> {
  const text = existsSync(MANIFEST) ? await readFile(MANIFEST, 'utf8') : '{}';
  const parsed = manifestSchema.safeParse(JSON.parse(text));
  // A manifest of another shape was left by another version of this file: its servers are fetched again.
  const manifest: Manifest = parsed.success ? parsed.data : { servers: [], absent: [] };
  const isThere = (server: ServerBinary) =>
    server.command.filter((part) => path.isAbsolute(part)).every(isPathThere);
  return { ...manifest, servers: manifest.servers.filter(isThere) };
}

/** The middle part of a loader command is a list of library folders. */
function isPathThere(part: string): boolean {
  return part.split(':').every((single) => existsSync(single));
}

async function addToManifest(server: ServerBinary): Promise<void> {
  const manifest = await readManifest();
  const others = manifest.servers.filter((known) => nameOf(known) !== nameOf(server));
  await writeManifest({ ...manifest, servers: [...others, server] });
}

/** By rename, so that a reader sees the old manifest or the new one, never half of one. */
async function writeManifest(manifest: Manifest): Promise<void> {
  const draft = `${MANIFEST}.${process.pid}`;
  await writeFile(draft, `${JSON.stringify(manifest, undefined, 2)}\n`);
  await rename(draft, MANIFEST);
}

async function findOnPath(): Promise<ServerBinary[]> {
  const folders = (process.env.PATH ?? '').split(':').filter((folder) => path.isAbsolute(folder));
  const programs = folders.flatMap((folder) =>
    ['redis-server', 'valkey-server'].map((n) => path.join(folder, n)),
  );
  const found: ServerBinary[] = [];
  for (const program of new Set(programs.filter((file) => existsSync(file)))) {
    try {
      found.push(await identifyServer([program]));
    } catch {
      // A program on PATH that does not run (for another architecture, say) is as good as absent.
    }
  }
  return found;
}
