import { MigrationError } from '../../core/errors.ts';
import type { CommandReader } from '../redis/command-reader.ts';
import { type Command, encodeCommands } from '../redis/raw-connection.ts';
import { FOOTER_BYTES, FOOTER_VERSION, withFooter } from '../redis/rdb/footer.ts';
import { hashFieldTtlsUnsupported, toTargetPayload } from './payload.ts';
import type { TargetCommands } from './target-commands.ts';

/** What a command of the stream is translated for. */
export type TranslationContext = {
  readonly commands: TargetCommands;
  readonly hasHashFieldTtls: boolean;
  /** The moment at which relative expiries begin to count. */
  nowMs(): number;
};

/** Returns the command that takes its place, encoded; undefined when it goes as it is. */
export type Translate = (command: CommandReader, context: TranslationContext) => Buffer | undefined;

/** The arguments of a command, its name at index 0. */
type Arguments = readonly Buffer[];
type Rule = (args: Arguments, context: TranslationContext) => Command | undefined;

/**
 * The translation of a command, by its name in capitals; undefined for those that always go as they are.
 *
 * Redis up to 6.2 sends expiries relative to when it ran the command: they are made absolute as they arrive.
 *
 * The translations throw source-data-unsupported for what the target cannot hold, target-refused-command for what it
 * does not know.
 */
export function findTranslation(name: string): Translate | undefined {
  const rule = RULES.get(name);
  if (rule === undefined) return undefined;
  const argumentsMin = ARGUMENTS_MIN.get(name) ?? 0;
  return (command, context) => {
    if (command.argumentCount < argumentsMin) return undefined;
    const args = Array.from({ length: command.argumentCount }, (_, index) => command.argument(index));
    const translated = rule(args, context);
    return translated === undefined ? undefined : encodeCommands([translated]);
  };
}

/** Stops at a command that the target does not know. */
export function refuseUnknown(name: string): MigrationError {
  if (HASH_FIELD_TTL_COMMANDS.has(name)) return hashFieldTtlsUnsupported();
  return new MigrationError(
    'target-refused-command',
    `The source sent ${name.slice(0, 40)}, a command that the target does not know; it was not applied, nor was anything after it.`,
    { remedy: `Choose a target that knows ${name.slice(0, 40)}, or keep it from being used at the source.` },
  );
}

const HASH_FIELD_TTL_COMMANDS: ReadonlySet<string> = new Set([
  'HEXPIRE',
  'HPEXPIRE',
  'HEXPIREAT',
  'HPEXPIREAT',
  'HPERSIST',
  'HGETEX',
]);

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['SET', (args, context) => withAbsoluteExpiry(args, 3, context)],
  ['GETEX', (args, context) => withAbsoluteExpiry(args, 2, context)],
  ['SETEX', ([, key, ttl, value], { nowMs }) => setUntil(key, value, nowMs() + 1000 * Number(ttl))],
  ['PSETEX', ([, key, ttl, value], { nowMs }) => setUntil(key, value, nowMs() + Number(ttl))],
  ['EXPIRE', ([, key, ttl, ...rest], { nowMs }) => expireAt(key, nowMs() + 1000 * Number(ttl), rest)],
  ['PEXPIRE', ([, key, ttl, ...rest], { nowMs }) => expireAt(key, nowMs() + Number(ttl), rest)],
  ['RESTORE', restore],
  ['RESTORE-ASKING', restore],
  ['FUNCTION', restoreFunctions],
  ['HSETEX', setFields],
]);

/** Commands that are frequent without options, and then need no look at their arguments. */
const ARGUMENTS_MIN: ReadonlyMap<string, number> = new Map([
  ['SET', 5],
  ['GETEX', 4],
]);

/** `EX seconds` and `PX milliseconds` among the options from `from` on become `PXAT`. */
function withAbsoluteExpiry(
  args: Arguments,
  from: number,
  { nowMs }: TranslationContext,
): Command | undefined {
  for (let index = from; index + 1 < args.length; index++) {
    const option = upper(args[index]);
    if (option !== 'EX' && option !== 'PX') continue;
    const ttlMs = Number(args[index + 1]) * (option === 'EX' ? 1000 : 1);
    return [...args.slice(0, index), 'PXAT', nowMs() + ttlMs, ...args.slice(index + 2)];
  }
  return undefined;
}

function setUntil(key: Buffer | undefined, value: Buffer | undefined, atMs: number): Command | undefined {
  return key === undefined || value === undefined ? undefined : ['SET', key, value, 'PXAT', atMs];
}

function expireAt(key: Buffer | undefined, atMs: number, options: Arguments): Command | undefined {
  return key === undefined ? undefined : ['PEXPIREAT', key, atMs, ...options];
}

/** `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME s] [FREQ n]`: a footer for the target, an absolute expiry. */
function restore(args: Arguments, context: TranslationContext): Command | undefined {
  const [, key, ttl, payload, ...options] = args;
  if (key === undefined || ttl === undefined || payload === undefined) return undefined;
  const isRelative = Number(ttl) > 0 && !options.some((option) => upper(option) === 'ABSTTL');
  return [
    'RESTORE',
    key,
    isRelative ? context.nowMs() + Number(ttl) : ttl,
    toTargetPayload(payload, context),
    ...options,
    ...(isRelative ? ['ABSTTL'] : []),
  ];
}

/** `FUNCTION RESTORE payload [policy]`: the payload has the footer of a DUMP, of a version that the target may refuse. */
function restoreFunctions(args: Arguments): Command | undefined {
  const [name, subcommand, payload, ...policy] = args;
  if (name === undefined || payload === undefined || upper(subcommand) !== 'RESTORE') return undefined;
  if (payload.length < FOOTER_BYTES) return undefined;
  return [name, 'RESTORE', withFooter(payload, FOOTER_VERSION), ...policy];
}

/**
 * `HSETEX key [FNX|FXX] [KEEPTTL | expiry] FIELDS n (field value)*` for a target without it.
 *
 * Redis 8 sends HINCRBYFLOAT on any hash as HSETEX with KEEPTTL; without an expiry it is HSET in other words, since
 * its conditions were met at the source.
 */
function setFields(args: Arguments, { commands }: TranslationContext): Command | undefined {
  if (commands.has('HSETEX')) return undefined;
  const [, key, ...rest] = args;
  const fieldsAt = rest.findIndex((option) => upper(option) === 'FIELDS');
  if (key === undefined || fieldsAt === -1) throw refuseUnknown('HSETEX');
  const hasExpiry = rest.slice(0, fieldsAt).some((option) => /^[EP]X(AT)?$/.test(upper(option)));
  if (hasExpiry) throw hashFieldTtlsUnsupported();
  return ['HSET', key, ...rest.slice(fieldsAt + 2)];
}

/** Options are short; a longer argument is none, and is not turned into text. */
function upper(argument: Buffer | undefined): string {
  return argument === undefined || argument.length > 16 ? '' : argument.toString('latin1').toUpperCase();
}
