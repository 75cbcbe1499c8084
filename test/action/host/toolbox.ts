import { access, chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What the scripts need of a Linux host besides a shell. */
const TOOLS = [
  'base64',
  'cat',
  'cut',
  'find',
  'gzip',
  'head',
  'mkdir',
  'mv',
  'rm',
  'sha256sum',
  'sleep',
  'touch',
  'tr',
];

/**
 * Makes a folder to be the whole PATH of a simulated instance, so that the Node.js and the package managers of the
 * machine that runs the tests are not seen there. `scripts` are shell scripts by their command's name.
 */
export async function createToolbox(
  directory: string,
  { scripts = {}, node = true }: { scripts?: Record<string, string>; node?: boolean } = {},
): Promise<string> {
  const bin = join(directory, 'bin');
  await mkdir(bin, { recursive: true });
  for (const tool of TOOLS) {
    if (!(tool in scripts)) await symlink(await findTool(tool), join(bin, tool));
  }
  if (node) await symlink(process.execPath, join(bin, 'node'));
  for (const [name, body] of Object.entries(scripts)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${body}\n`);
    await chmod(join(bin, name), 0o755);
  }
  return bin;
}

async function findTool(tool: string): Promise<string> {
  for (const directory of ['/usr/bin', '/bin']) {
    const path = join(directory, tool);
    const exists = await access(path).then(
      () => true,
      () => false, // not in this folder
    );
    if (exists) return path;
  }
  throw new Error(`This machine has no ${tool} in /usr/bin or /bin`);
}
