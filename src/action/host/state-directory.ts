import { MigrationError } from '../../core/errors.ts';

/**
 * Refuses a state directory that cannot work: one that is not absolute, that nobody meant (control characters), or
 * from which Node.js loads no module (backslash: ERR_INVALID_MODULE_SPECIFIER).
 *
 * Everything else is a good name, whatever a shell would make of it.
 *
 * @throws input-malformed
 */
export function requireStateDirectory(stateDirectory: string): void {
  const isStrange = [...stateDirectory].some(
    (character) => character < ' ' || character === '\u007f' || character === '\\',
  );
  if (stateDirectory.startsWith('/') && stateDirectory.length > 1 && !isStrange) return;
  throw new MigrationError(
    'input-malformed',
    `state-directory ${JSON.stringify(stateDirectory)} is not usable: it must be an absolute path without backslashes and control characters.`,
  );
}
