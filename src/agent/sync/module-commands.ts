import { isMigrationError } from '../../core/errors.ts';
import type { Client } from '../redis/client.ts';

/** Which commands belong to modules of the source, so that their data is not carried. */
export type ModuleCommands = {
  /** Where the name of the key stands among the arguments; 0: nowhere. Undefined for a command of the server itself. */
  keyIndex(name: string): number | undefined;
};

/** A name with a dot, as the registry of modules asks for, is of no server's own command. */
const NAME_OF_MODULE = /\./;
/** The writing commands of vector sets, a module that is part of Redis 8 and needs no dot. */
const VECTOR_SET_COMMANDS: ReadonlySet<string> = new Set(['VADD', 'VREM', 'VSETATTR']);

/**
 * Asks the source for its commands: those of modules have the flag `module` (Redis 6.0, all Valkeys). One that says
 * that it has no modules is not asked, since its answer is the largest that a server gives: 30 ms to take apart.
 *
 * Where it may not be asked, or does not say, the names tell: {@link NAME_OF_MODULE}, {@link VECTOR_SET_COMMANDS}.
 *
 * @throws the codes of a connection to the source
 */
export async function readModuleCommands(source: Client): Promise<ModuleCommands> {
  return moduleCommands((await hasNoModules(source)) ? undefined : await listCommands(source));
}

/** From the reply of COMMAND: `[name, arity, [flag...], first key, ...]` for each. */
export function moduleCommands(reply: unknown): ModuleCommands {
  const flagged = new Map<string, number>();
  const entries: readonly unknown[] = Array.isArray(reply) ? reply : [];
  for (const entry of entries) {
    const [name, , flags, firstKey]: readonly unknown[] = Array.isArray(entry) ? entry : [];
    const isOfModule = Array.isArray(flags) && flags.some((flag) => String(flag) === 'module');
    if (isOfModule) flagged.set(String(name).toUpperCase(), Number(firstKey) || 0);
  }
  return {
    keyIndex: (name) => {
      const known = flagged.get(name);
      if (known !== undefined) return known;
      if (VECTOR_SET_COMMANDS.has(name)) return 1;
      // Also of a module that was loaded since.
      return NAME_OF_MODULE.test(name) ? 0 : undefined;
    },
  };
}

async function hasNoModules(source: Client): Promise<boolean> {
  const modules = await askIfAllowed(source, 'MODULE', 'LIST');
  return Array.isArray(modules) && modules.length === 0;
}

function listCommands(source: Client): Promise<unknown> {
  return askIfAllowed(source, 'COMMAND');
}

async function askIfAllowed(source: Client, command: string, ...args: string[]): Promise<unknown> {
  try {
    return await source.call(command, ...args);
  } catch (error) {
    // Denied, or renamed away as some providers do.
    if (isMigrationError(error) && /-(permission-denied|protocol-error)$/.test(error.code)) return undefined;
    throw error;
  }
}
