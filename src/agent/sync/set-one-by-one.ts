import { MigrationError } from '../../core/errors.ts';
import type { Command } from '../redis/raw-connection.ts';
import { EXPIRY_UNITS, readExpiry } from './expiry-argument.ts';
import { upper } from './source-only-options.ts';
import type { TargetCommands } from './target-commands.ts';

/**
 * `MSETEX n (key value)* [NX|XX] [expiry | KEEPTTL]` for a target without it, as one SET for each key.
 *
 * The source sends it only when it has set all of them, so its condition was met and is of no interest any more.
 *
 * @throws target-refused-command for one that has other options
 */
export function setOneByOne(
  args: readonly Buffer[],
  context: { readonly commands: TargetCommands; nowMs(): number },
): { readonly inTurn: readonly Command[] } | undefined {
  if (context.commands.has('MSETEX')) return undefined;
  const count = Number(args[1]?.toString('latin1'));
  const pairs = args.slice(2, 2 + 2 * count);
  const expiry =
    count > 0 && pairs.length === 2 * count ? expiryOf(args.slice(2 + 2 * count), context) : undefined;
  if (expiry === undefined) throw notUnderstood();
  return {
    inTurn: Array.from({ length: count }, (_, index): Command => {
      return ['SET', pairs[2 * index] ?? '', pairs[2 * index + 1] ?? '', ...expiry];
    }),
  };
}

/** What is said of the expiry, in words that SET has; undefined where something else is said too. */
function expiryOf(options: readonly Buffer[], context: { nowMs(): number }): Command | undefined {
  let expiry: Command = [];
  for (let index = 0; index < options.length; index++) {
    const option = upper(options[index]);
    const unit = EXPIRY_UNITS.find((name) => name === option);
    if (unit !== undefined) {
      index += 1;
      const number = options[index];
      if (number === undefined) return undefined;
      const atMs = readExpiry(number, unit, context);
      expiry = atMs === undefined ? [unit, number] : ['PXAT', atMs];
    } else if (option === 'KEEPTTL') expiry = ['KEEPTTL'];
    else if (option !== 'NX' && option !== 'XX') return undefined;
  }
  return expiry;
}

function notUnderstood(): MigrationError {
  return new MigrationError(
    'target-refused-command',
    'The source sent MSETEX in a form that cannot be said in commands of the target; it was not applied, nor was anything after it.',
    { remedy: 'Choose a target that knows MSETEX, or keep it from being used at the source.' },
  );
}
