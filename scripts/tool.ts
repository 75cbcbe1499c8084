import { spawnSync } from 'node:child_process';
import path from 'node:path';

/** The root of the repository. */
export const ROOT = path.resolve(import.meta.dirname, '..');

/**
 * Runs a tool of node_modules/.bin on the Node that runs this script, so that a shell's Node never gets in between.
 *
 * Returns the exit code and what the tool wrote; with `isShown` it writes to the terminal instead.
 */
export function runTool(name: string, args: readonly string[], { isShown = false } = {}): ToolResult {
  return runNode([path.join(ROOT, 'node_modules/.bin', name), ...args], { isShown });
}

/** Runs a script with the Node that runs this one; as {@link runTool}. */
export function runNode(args: readonly string[], { isShown = false } = {}): ToolResult {
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    stdio: isShown ? ['ignore', 'inherit', 'inherit'] : ['ignore', 'pipe', 'pipe'],
  });
  if (error !== undefined) throw error;
  return { code: status ?? 1, output: isShown ? '' : `${stdout}${stderr}` };
}

/** How a tool ended. */
export type ToolResult = { readonly code: number; readonly output: string };
