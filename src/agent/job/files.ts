import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorText, MigrationError } from '../../core/errors.ts';

/**
 * Writes a file so that a reader or a crash sees the old content or the new one, never a part.
 *
 * `isSynced`: nor does a power cut; it makes the caller wait for the disk. Only the owner may read the file: requests
 * name servers and users.
 *
 * @throws host-state-unwritable
 */
export function writeFileAtomically(
  path: string,
  content: string | Uint8Array,
  { isSynced = true }: { isSynced?: boolean } = {},
): void {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(temporary, 'wx', 0o600);
    try {
      writeSync(file, typeof content === 'string' ? Buffer.from(content) : content);
      if (isSynced) fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw new MigrationError('host-state-unwritable', `Cannot write ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/**
 * As {@link writeFileAtomically}, without a sync and without holding up the process: to give a file the name of another
 * can take a disk ten milliseconds, which a job on the move would spend several times a second.
 *
 * @throws host-state-unwritable
 */
export async function writeFileInBackground(path: string, content: string): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    await writeFile(temporary, content, { flag: 'wx', mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {
      // The disk does not take this either: what is told is the first failure.
    });
    throw new MigrationError('host-state-unwritable', `Cannot write ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/**
 * As {@link writeFileAtomically}, and the new name is on the disk as well when it returns: for what a power cut must not
 * undo, at the price of a second sync.
 *
 * @throws host-state-unwritable
 */
export function writeFileDurably(path: string, content: string | Uint8Array): void {
  writeFileAtomically(path, content);
  try {
    syncFolder(dirname(path));
  } catch (error) {
    throw new MigrationError('host-state-unwritable', `Cannot sync ${dirname(path)}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/**
 * Writes a file that nobody else has written: of several processes that try one succeeds, and its content is there whole
 * or not at all. Returns whether it was this one.
 *
 * @throws host-state-unwritable
 */
export function writeFileOnce(path: string, content: string): boolean {
  const own = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileAtomically(own, content);
  try {
    linkSync(own, path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw new MigrationError('host-state-unwritable', `Cannot make ${path}: ${errorText(error)}`, {
      cause: error,
    });
  } finally {
    rmSync(own, { force: true });
  }
  try {
    syncFolder(dirname(path));
  } catch {
    // It is there for everybody who looks; only a power cut could take it away again.
  }
  return true;
}

/** Removes a file or a folder with all that is in it, if it is there. @throws host-state-unwritable */
export function removeIfThere(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    throw new MigrationError('host-state-unwritable', `Cannot remove ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** Reads a file, or undefined when there is none. */
export function readFileIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new MigrationError('host-state-unwritable', `Cannot read ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** Reads a JSON file, or undefined when there is none; what it holds is still to be validated. */
export function readJsonIfThere(path: string): unknown {
  const content = readFileIfThere(path);
  if (content === undefined) return undefined;
  try {
    return JSON.parse(content.toString('utf8'));
  } catch (error) {
    throw new MigrationError('contract-mismatch', `${path} does not hold JSON: ${errorText(error)}`, {
      cause: error,
    });
  }
}
