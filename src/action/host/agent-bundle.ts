import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { errorText, MigrationError } from '../../core/errors.ts';

/** The agent as it travels to a host. */
export type AgentBundle = {
  /** Of the plain file, in hex; also its name on the host. */
  readonly sha256: string;
  readonly sizeBytes: number;
  /** The gzipped file in base64, cut so that each part decodes on its own and fits one SSM command. */
  readonly partsBase64: readonly string[];
};

/** Bytes in a part: 45,000 are 60,000 characters of base64, well under the 97 KB of an SSM command. */
const PART_BYTES = 45_000;

/**
 * The agent that was built with this action: `dist/agent/index.js` beside `dist/action/index.js`.
 *
 * ncc takes `new URL('../agent/index.js', import.meta.url)` for an asset, copies it under a hashed name and
 * rewrites the expression; pieces joined at run time it leaves alone. Only the built action may call this.
 */
export function agentBundlePath(): string {
  return join(dirname(fileURLToPath(import.meta.url)), '..', 'agent', 'index.js');
}

/**
 * Reads the agent and makes it ready to travel.
 *
 * @throws internal (the file is not there: the action is not complete)
 */
export async function readAgentBundle(agentPath: string): Promise<AgentBundle> {
  const bytes = await readAgent(agentPath);
  const packed = gzipSync(bytes, { level: 9 });
  const partsBase64: string[] = [];
  for (let offset = 0; offset < packed.length; offset += PART_BYTES) {
    partsBase64.push(packed.subarray(offset, offset + PART_BYTES).toString('base64'));
  }
  return { sha256: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.length, partsBase64 };
}

async function readAgent(agentPath: string): Promise<Buffer> {
  try {
    return await readFile(agentPath);
  } catch (error) {
    throw new MigrationError('internal', `The agent is not readable at ${agentPath}: ${errorText(error)}.`, {
      remedy: 'Use a released version of the action, whose dist folder is complete.',
      cause: error,
    });
  }
}
