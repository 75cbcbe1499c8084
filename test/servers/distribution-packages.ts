import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { openAptRoot } from './apt-root.ts';
import { type AptArchive, findAptArchives } from './apt-sources.ts';
import { identifyServer, loaderCommand, type ServerBinary, type ServerFetch } from './server-binary.ts';

/** One group of suites of a distribution and the server versions its packages are known to hold. */
type SuiteGroup = {
  readonly suites: readonly string[];
  readonly servers: readonly { readonly kind: ServerBinary['kind']; readonly version: string }[];
};

type Distribution = {
  readonly components: readonly string[];
  /** Where the newer key rings come from, and the file in that package. */
  readonly keyring: { readonly package: string; readonly file: string };
  /** From old to new: the key rings of a group may be needed to verify the next one. */
  readonly groups: readonly SuiteGroup[];
};

const DISTRIBUTIONS: Readonly<Record<string, Distribution>> = {
  debian: {
    components: ['main'],
    keyring: { package: 'debian-archive-keyring', file: 'usr/share/keyrings/debian-archive-keyring.gpg' },
    groups: [
      {
        suites: ['bookworm', 'bookworm-backports'],
        servers: [
          { kind: 'redis', version: '7.0' },
          { kind: 'valkey', version: '8.0' },
        ],
      },
      {
        suites: ['trixie'],
        servers: [
          { kind: 'redis', version: '8.0' },
          { kind: 'valkey', version: '8.1' },
        ],
      },
      { suites: ['sid'], servers: [{ kind: 'valkey', version: '9' }] },
    ],
  },
  ubuntu: {
    components: ['main', 'universe'],
    keyring: { package: 'ubuntu-keyring', file: 'usr/share/keyrings/ubuntu-archive-keyring.gpg' },
    groups: [
      { suites: ['noble', 'noble-updates'], servers: [{ kind: 'redis', version: '7.0' }] },
      {
        suites: ['questing'],
        servers: [
          { kind: 'redis', version: '8.0' },
          { kind: 'valkey', version: '8.1' },
        ],
      },
      {
        suites: ['resolute'],
        servers: [
          { kind: 'redis', version: '8.0' },
          { kind: 'valkey', version: '9' },
        ],
      },
      // Where the mirror no longer has questing (an interim release), an older one may still be there.
      { suites: ['plucky'], servers: [{ kind: 'valkey', version: '8' }] },
    ],
  },
};

/**
 * Fetches servers from the machine's own distribution, other suites included, without root and without installing.
 * Returns one line for each thing that did not work; a suite that is gone is not an error here.
 */
export async function fetchFromDistribution(fetch: ServerFetch): Promise<readonly string[]> {
  if (!existsSync('/usr/bin/apt-get')) return ['packages: this machine has no apt-get'];
  const release = parseOsRelease(await readFile('/etc/os-release', 'utf8'));
  const names = [release.ID ?? '', ...(release.ID_LIKE ?? '').split(' ')];
  const name = names.find((candidate) => candidate in DISTRIBUTIONS) ?? '';
  const distribution = DISTRIBUTIONS[name];
  if (distribution === undefined) return [`packages: ${names[0]} is neither Debian nor Ubuntu`];
  const codename =
    release[name === 'ubuntu' ? 'UBUNTU_CODENAME' : 'VERSION_CODENAME'] ?? release.VERSION_CODENAME ?? '';
  const archives = findAptArchives(codename);
  if (archives.length === 0) return [`packages: apt has no source for ${codename}`];
  return fetchGroups({ ...fetch, distribution, archives });
}

async function fetchGroups(
  fetch: ServerFetch & { distribution: Distribution; archives: readonly AptArchive[] },
): Promise<string[]> {
  const failures: string[] = [];
  const keyrings: string[] = [];
  for (const group of fetch.distribution.groups) {
    const wanted = group.servers.filter((server) => fetch.isWanted(server.kind, server.version));
    if (wanted.length === 0) continue;
    const kinds = [...new Set(wanted.map((server) => server.kind))];
    const groupFailures: string[] = [];
    for (const archive of fetch.archives) {
      try {
        await fetchGroup({ ...fetch, archive, group, kinds, keyrings });
        groupFailures.length = 0;
        break;
      } catch (error) {
        groupFailures.push(`packages of ${group.suites.join(' + ')}: ${firstComplaint(error)}`);
      }
    }
    failures.push(...groupFailures);
    for (const failure of groupFailures) fetch.report(failure);
  }
  return failures;
}

type GroupFetch = ServerFetch & {
  distribution: Distribution;
  archive: AptArchive;
  group: SuiteGroup;
  kinds: readonly ServerBinary['kind'][];
  /** Grows by the key ring of each fetched group: trust goes from one verified suite to the next. */
  keyrings: string[];
};

async function fetchGroup(fetch: GroupFetch): Promise<void> {
  const { group, distribution, report } = fetch;
  const label = group.suites.join(' + ');
  report(`${label}: reading the package lists`);
  await using apt = await openAptRoot({
    archive: fetch.archive,
    suites: group.suites,
    components: distribution.components,
    furtherKeyrings: fetch.keyrings,
  });
  const root = await mkdtemp(path.join(fetch.directory, `${group.suites[0]}-`));
  try {
    await chmod(root, 0o755);
    const servers = fetch.kinds.flatMap((kind) => [`${kind}-server`, `${kind}-tools`]);
    const packages = await apt.withLibraries([...servers, distribution.keyring.package]);
    const lacking = servers.filter((name) => !packages.includes(name));
    if (lacking.length > 0) throw new Error(`${label} has no ${lacking.join(', ')}`);
    report(`${label}: fetching ${packages.length} packages for ${fetch.kinds.join(' and ')}`);
    await apt.unpack(packages, root);
    const found: ServerBinary[] = [];
    for (const kind of fetch.kinds) {
      const server = await identifyServer(await packagedCommand(root, `${kind}-server`));
      report(`${label}: ${server.kind} ${server.version} runs`);
      found.push(server);
    }
    // Only now that all of them run: a failure removes the folder they share.
    for (const server of found) await fetch.found(server);
  } catch (error) {
    await rm(root, { recursive: true, force: true });
    throw error;
  }
  const keyring = path.join(root, distribution.keyring.file);
  if (existsSync(keyring)) fetch.keyrings.push(keyring);
}

async function packagedCommand(root: string, program: string): Promise<string[]> {
  const libraries: string[] = [];
  for (const base of ['lib', 'usr/lib']) {
    const folder = path.join(root, base);
    const names = existsSync(folder) ? await readdir(folder) : [];
    libraries.push(
      ...names.filter((name) => name.includes('-linux-gnu')).map((name) => path.join(folder, name)),
    );
  }
  return loaderCommand(libraries, path.join(root, 'usr/bin', program));
}

function parseOsRelease(text: string): Readonly<Record<string, string | undefined>> {
  const pairs = [...text.matchAll(/^(\w+)="?([^"\n]*)"?$/gm)];
  return Object.fromEntries(pairs.map(([, name = '', value = '']) => [name, value]));
}

/** The first line in which apt says what is wrong, without its progress. */
function firstComplaint(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const lines = message.split('\n').filter((line) => line.trim() !== '');
  return (lines.find((line) => /^[EW]: /.test(line)) ?? lines[0] ?? 'unknown').slice(0, 400);
}
