import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ROOT, runTool } from './tool.ts';

// npm run build: TypeScript to lib/ (tsc), lib/ to one folder for each wing in dist/ (ncc).
// With --check it builds elsewhere and compares: dist is committed, so it must be what the sources say.

/** The bundles. The agent is minified because it travels to the host; the action is left readable. */
const BUNDLES = [
  { name: 'action', minify: false, isSingleFile: false },
  { name: 'agent', minify: true, isSingleFile: true },
] as const;

/** What a bundle consists of when all of its code must be in one file. */
const SINGLE_FILE_BUNDLE = ['index.js', 'licenses.txt', 'package.json'];

try {
  if (process.argv.includes('--check')) await checkDist();
  else await buildDist();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function buildDist(): Promise<void> {
  const dist = path.join(ROOT, 'dist');
  await bundleInto(dist);
  for (const [file, bytes] of await readTree(dist))
    process.stdout.write(`dist/${file} ${bytes.length} bytes\n`);
}

async function checkDist(): Promise<void> {
  const dist = await mkdtemp(path.join(tmpdir(), 'valkey-migrate-dist-'));
  try {
    await bundleInto(dist);
    const stale = differingFiles(await readTree(dist), await readTree(path.join(ROOT, 'dist')));
    if (stale.length === 0) return;
    process.stderr.write(`dist is not what the sources say: ${stale.join(', ')}\nRun: npm run build\n`);
    process.exitCode = 1;
  } finally {
    await rm(dist, { recursive: true, force: true });
  }
}

/**
 * Compiles `src` and bundles both wings into `dist`.
 *
 * The compiled files always lie in lib/: ncc orders the modules by their paths relative to node_modules, so from
 * another folder the same sources give other bytes.
 */
async function bundleInto(dist: string): Promise<void> {
  const lib = path.join(ROOT, 'lib');
  await rm(lib, { recursive: true, force: true });
  must('tsc', ['--project', 'tsconfig.build.json', '--outDir', lib]);
  for (const { name, minify, isSingleFile } of BUNDLES) {
    const out = path.join(dist, name);
    await rm(out, { recursive: true, force: true });
    const options = ['--no-cache', '--quiet', '--license', 'licenses.txt', ...(minify ? ['--minify'] : [])];
    must('ncc', ['build', path.join(lib, `src/${name}/main.js`), '--out', out, ...options]);
    const files = [...(await readTree(out)).keys()];
    if (isSingleFile && files.join() !== SINGLE_FILE_BUNDLE.join())
      throw new Error(`dist/${name} must be one file beside its licenses, it is: ${files.join(', ')}`);
  }
}

function must(tool: string, args: readonly string[]): void {
  const { code, output } = runTool(tool, args);
  if (code !== 0) throw new Error(`${tool} ${args.join(' ')} ended with ${code}:\n${output}`);
}

/** All files below a folder, by their relative paths, in the order of the paths. */
async function readTree(directory: string): Promise<Map<string, Buffer>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(
    (error: unknown) => {
      // A folder that was never built has no files: the comparison then names every file that should be there.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    },
  );
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)))
    .sort();
  return new Map(
    await Promise.all(
      files.map(
        async (file): Promise<[string, Buffer]> => [file, await readFile(path.join(directory, file))],
      ),
    ),
  );
}

function differingFiles(built: Map<string, Buffer>, committed: Map<string, Buffer>): string[] {
  return [...new Set([...built.keys(), ...committed.keys()])].sort().filter((file) => {
    const bytes = built.get(file);
    return bytes === undefined || committed.get(file)?.equals(bytes) !== true;
  });
}
