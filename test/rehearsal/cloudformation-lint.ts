import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const VERSION = '1.58.0';
const DIRECTORY = path.resolve(import.meta.dirname, '../../.cache', `cfn-lint-${VERSION}`);
/** Written last, so that an interrupted installation does not count. */
const COMPLETE = path.join(DIRECTORY, 'complete');
const INSTALL_TIMEOUT_MS = 90_000;

/**
 * Makes sure that cfn-lint is at hand, in an environment of its own; says why where it is not to be had: no Python, no
 * venv module, no package index.
 */
export async function installLinter(): Promise<string | undefined> {
  if (existsSync(COMPLETE)) return undefined;
  const options = { timeout: INSTALL_TIMEOUT_MS };
  const pip = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', `cfn-lint==${VERSION}`];
  try {
    await run('python3', ['-m', 'venv', '--clear', DIRECTORY], options);
    await run(path.join(DIRECTORY, 'bin', 'python3'), pip, options);
  } catch (error) {
    if (error instanceof Error && 'cmd' in error) return `python3 cannot install cfn-lint ${VERSION} here`;
    throw error;
  }
  await writeFile(COMPLETE, '');
  return undefined;
}

/** What the linter says of the templates; nothing when they are good. */
export async function lintTemplates(files: readonly string[]): Promise<string> {
  try {
    return (await run(path.join(DIRECTORY, 'bin', 'cfn-lint'), [...files])).stdout;
  } catch (error) {
    // It ends with another code when it finds something, and prints what.
    if (error instanceof Error && 'stdout' in error && error.stdout !== '') return String(error.stdout);
    throw error;
  }
}
