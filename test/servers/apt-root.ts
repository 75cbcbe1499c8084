import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { AptArchive } from './apt-sources.ts';

/** A private apt: its own lists, cache and sources, the machine's own transport settings; nothing is installed. */
export type AptRoot = AsyncDisposable & {
  /** The given packages and the libraries below them, libc included; packages the suites lack are left out. */
  withLibraries(packages: readonly string[]): Promise<readonly string[]>;
  /** Downloads packages (signatures checked by apt) and unpacks them below `into`. */
  unpack(packages: readonly string[], into: string): Promise<void>;
};

/** What a private apt reads: suites and components of one archive, and further key rings that may verify them. */
export type AptRootOptions = {
  readonly archive: AptArchive;
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly furtherKeyrings: readonly string[];
};

const run = promisify(execFile);
/** On top of the retries apt makes for each file. */
const UPDATE_ATTEMPTS = 2;

/** Opens a private apt and reads the lists of its suites; throws with apt's own words when one cannot be verified. */
export async function openAptRoot(options: AptRootOptions): Promise<AptRoot> {
  // Below the system's temporary directory, open to others: root's apt drops to a user who must reach it.
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-apt-'));
  const dispose = () => rm(directory, { recursive: true, force: true });
  try {
    await chmod(directory, 0o755);
    await writeConfiguration(directory, options);
    const apt = (program: string, args: readonly string[]) => runApt(directory, program, args);
    await updateLists(apt);
    return {
      withLibraries: (packages) => closeOverLibraries(packages, apt),
      unpack: (packages, into) => unpackPackages({ packages, into, directory, apt }),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

type Apt = (program: string, args: readonly string[]) => Promise<string>;

async function runApt(directory: string, program: string, args: readonly string[]): Promise<string> {
  const env = {
    ...process.env,
    LC_ALL: 'C',
    DEBIAN_FRONTEND: 'noninteractive',
    APT_CONFIG: configPath(directory),
  };
  const cwd = path.join(directory, 'packages');
  const { stdout } = await run(program, args, { env, cwd, timeout: 300_000, maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

/**
 * APT_CONFIG is read before the machine's own files, which are then switched off: their clean-up hooks would
 * empty the system's cache. Of the machine's settings only `Acquire` (proxy, TLS, date checks) is taken over.
 */
async function writeConfiguration(directory: string, options: AptRootOptions): Promise<void> {
  for (const part of ['lists/partial', 'cache/archives/partial', 'packages', 'keyrings', 'etc']) {
    await mkdir(path.join(directory, part), { recursive: true });
  }
  const { stdout: dump } = await run('apt-config', ['dump'], { env: { ...process.env, LC_ALL: 'C' } });
  const transport = dump
    .split('\n')
    .filter((line) => /^Acquire::(?!IndexTargets|Allow|Languages)/.test(line));
  const settings = {
    'Dir::State': directory,
    'Dir::State::lists': path.join(directory, 'lists'),
    'Dir::State::status': path.join(directory, 'status'),
    'Dir::Cache': path.join(directory, 'cache'),
    'Dir::Etc::main': '/dev/null',
    'Dir::Etc::parts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::Etc::sourcelist': path.join(directory, 'etc', 'archive.sources'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    'Acquire::http::Timeout': '20',
    'Acquire::https::Timeout': '20',
    // Otherwise a list that could not be read is only a warning.
    'APT::Update::Error-Mode': 'any',
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";`);
  await writeFile(path.join(directory, 'status'), '');
  await writeFile(configPath(directory), `${[...transport, ...lines].join('\n')}\n`);
  await writeFile(path.join(directory, 'etc', 'archive.sources'), await renderSource(directory, options));
}

async function renderSource(directory: string, options: AptRootOptions): Promise<string> {
  const { stdout: architecture } = await run('dpkg', ['--print-architecture']);
  const keyrings: string[] = [];
  // Copies, since the user apt drops to need not be allowed to read the originals.
  for (const [index, keyring] of [...options.archive.keyrings, ...options.furtherKeyrings].entries()) {
    const copy = path.join(directory, 'keyrings', `${index}${path.extname(keyring)}`);
    await copyFile(keyring, copy);
    keyrings.push(copy);
  }
  if (options.archive.inlineKey !== undefined) {
    const file = path.join(directory, 'keyrings', 'inline.asc');
    await writeFile(file, options.archive.inlineKey);
    keyrings.push(file);
  }
  return [
    'Types: deb',
    `URIs: ${options.archive.uri}`,
    `Suites: ${options.suites.join(' ')}`,
    `Components: ${options.components.join(' ')}`,
    `Architectures: ${architecture.trim()}`,
    `Signed-By: ${keyrings.join(' ')}`,
    '',
  ].join('\n');
}

async function updateLists(apt: Apt): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await apt('apt-get', ['-q', 'update']);
      return;
    } catch (error) {
      // A bad signature or an absent suite stays so; only what may pass (a broken connection) is tried again.
      const message = error instanceof Error ? error.message : String(error);
      const permanent = /NO_PUBKEY|EXPKEYSIG|BADSIG|does not have a Release file|404/.test(message);
      if (permanent || attempt === UPDATE_ATTEMPTS) throw error;
    }
  }
}

/** Follows `Depends` from package to package, but only into libraries: scripts of packages are never run. */
async function closeOverLibraries(packages: readonly string[], apt: Apt): Promise<readonly string[]> {
  const known = new Set(await keepAvailable(packages, apt));
  let fresh = [...known];
  while (fresh.length > 0) {
    const answer = await apt('apt-cache', ['depends', ...fresh]);
    const names = [...answer.matchAll(/^ [ |](?:Pre)?Depends: ((?:lib|zlib)[a-z0-9.+-]+)/gm)].map(
      (match) => match[1] ?? '',
    );
    fresh = (await keepAvailable([...new Set(names)], apt)).filter((name) => !known.has(name));
    for (const name of fresh) known.add(name);
  }
  return [...known];
}

async function keepAvailable(packages: readonly string[], apt: Apt): Promise<string[]> {
  if (packages.length === 0) return [];
  const policy = await apt('apt-cache', ['policy', ...packages]);
  return [...policy.matchAll(/^(\S+):\n {2}Installed: .*\n {2}Candidate: (?!\(none\))/gm)].map(
    (m) => m[1] ?? '',
  );
}

type Unpacking = { packages: readonly string[]; into: string; directory: string; apt: Apt };

async function unpackPackages({ packages, into, directory, apt }: Unpacking): Promise<void> {
  await apt('apt-get', ['-q', 'download', ...packages]);
  const folder = path.join(directory, 'packages');
  for (const file of await readdir(folder)) {
    if (!file.endsWith('.deb')) continue;
    await run('dpkg-deb', ['-x', path.join(folder, file), into]);
    await rm(path.join(folder, file));
  }
}

function configPath(directory: string): string {
  return path.join(directory, 'apt.conf');
}
