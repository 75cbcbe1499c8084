import { HASH_FIELD_TTL } from '../../contract/skipped.ts';
import { MigrationError } from '../../core/errors.ts';
import type { CommandReader } from '../redis/command-reader.ts';
import { type Part, partBytes } from '../redis/held-bytes.ts';
import { type Command, encodeArguments, encodeCommands } from '../redis/raw-connection.ts';
import { FOOTER_BYTES, FOOTER_VERSION, withFooter } from '../redis/rdb/footer.ts';
import { TYPE_MODULE } from '../redis/rdb/layouts.ts';
import { moduleName } from '../redis/rdb/module-name.ts';
import { EXPIRY_UNITS, type ExpiryUnit, readExpiry } from './expiry-argument.ts';
import {
  hashFieldTtlsUnsupported,
  isExpiringHash,
  type TargetForm,
  toTargetParts,
  toTargetPayload,
} from './payload.ts';
import { setOneByOne } from './set-one-by-one.ts';
import type { Skip } from './skips.ts';
import {
  hasValueCondition,
  LIMITED_TRIM_ARGUMENTS_MIN,
  mayHaveTrimLimit,
  upper,
  VALUE_CONDITION_ARGUMENTS_MIN,
  withoutTrimLimit,
  withoutValueCondition,
} from './source-only-options.ts';
import type { TargetCommands } from './target-commands.ts';

/** What a command of the stream is translated for. */
export type TranslationContext = TargetForm & {
  readonly commands: TargetCommands;
  /** The moment at which relative expiries begin to count: when the command arrived. */
  nowMs(): number;
  /** Takes note of what the target does not get. */
  skip(what: Skip['what'], reason: string, key: Buffer): void;
};

/** The translation of a command that the target does not get. */
export const LEFT_OUT = 'left-out';

/** The translation of a command that several take the place of: one key and one name each, and nothing between them. */
export type InTurn = { readonly name: string; readonly commands: readonly (readonly Part[])[] };

/** Whether several commands take the place of one. */
export function isInTurn(translated: InTurn | readonly Part[] | undefined): translated is InTurn {
  return translated !== undefined && 'commands' in translated;
}

/**
 * Returns the encoded command that takes its place, in pieces that hold until the next of the stream is read, or several
 * of them; undefined when it goes as it is, {@link LEFT_OUT} when it does not go at all.
 */
export type Translate = (
  command: CommandReader,
  context: TranslationContext,
) => readonly Part[] | InTurn | typeof LEFT_OUT | undefined;

/** The arguments of a command, its name at index 0. */
type Arguments = readonly Buffer[];
/** What is on disk, by the empty buffer that stands for it among the arguments. */
type StandIns = Map<Buffer, readonly Part[]>;
const NOTHING_HELD: StandIns = new Map();
type RuleContext = TranslationContext & { readonly standIns: StandIns };
type Rule = (
  args: Arguments,
  context: RuleContext,
) => Command | { readonly inTurn: readonly Command[] } | typeof LEFT_OUT | undefined;

/**
 * The translation of a command, by its name in capitals; undefined for those that always go as they are.
 *
 * Every expiry becomes absolute and padded ({@link padExpiry}). Redis up to 6.2 sends expiries relative to when it ran
 * the command: they count from their arrival. What that adds is taken back when the target is settled.
 *
 * The translations throw source-data-unsupported for what the target cannot hold, target-refused-command for what it
 * does not know.
 */
export function findTranslation(name: string): Translate | undefined {
  const rule = RULES.get(name);
  const padded = EXPIRY_OPTIONS.get(name);
  const isConcerned = CONCERNED.get(name)?.isConcerned;
  if (rule === undefined && padded === undefined) return undefined;
  const argumentsMin = padded?.argumentsMin ?? Number.POSITIVE_INFINITY;
  return (command, context) => {
    const applied = isConcerned === undefined || isConcerned(command) ? rule : undefined;
    if (applied === undefined && command.argumentCount < argumentsMin) return undefined;
    const standIns: StandIns = command.isHeld ? new Map() : NOTHING_HELD;
    const args = Array.from({ length: command.argumentCount }, (_, index) =>
      readArgument(command, index, standIns),
    );
    const translated = applied?.(args, { ...context, standIns });
    if (translated === LEFT_OUT) return LEFT_OUT;
    if (translated !== undefined && 'inTurn' in translated) {
      const commands = translated.inTurn.map((each) => encode(each, standIns));
      return { name: String(translated.inTurn[0]?.[0]), commands };
    }
    if (translated !== undefined) return encode(translated, standIns);
    if (padded === undefined || !context.commands.has(name)) return undefined;
    return withPaddedOption(command, args, { ...context, layout: padded });
  };
}

/** Up to so many arguments a command always goes as it is, by its name in capitals. */
export function plainArgumentsMax(name: string): number {
  const ruled = RULES.has(name) ? (CONCERNED.get(name)?.argumentsMin ?? 0) : Number.POSITIVE_INFINITY;
  const padded = EXPIRY_OPTIONS.get(name)?.argumentsMin ?? Number.POSITIVE_INFINITY;
  return Math.min(ruled, padded) - 1;
}

function readArgument(command: CommandReader, index: number, standIns: StandIns): Buffer {
  const held = command.heldArgument(index);
  if (held === undefined) return command.argument(index);
  const standIn = Buffer.alloc(0);
  standIns.set(standIn, [{ held, start: 0, end: held.size }]);
  return standIn;
}

function encode(command: Command, standIns: StandIns): readonly Part[] {
  if (standIns.size === 0) return [encodeCommands([command])];
  const parts: Part[] = [Buffer.from(`*${command.length}\r\n`, 'latin1')];
  for (const argument of command) {
    const held = Buffer.isBuffer(argument) ? standIns.get(argument) : undefined;
    if (held === undefined) {
      parts.push(encodeArguments([argument]));
    } else {
      const size = held.reduce((sum, part) => sum + partBytes(part), 0);
      parts.push(Buffer.from(`$${size}\r\n`, 'latin1'), ...held, Buffer.from('\r\n', 'latin1'));
    }
  }
  return parts;
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
  ['SETEX', ([, key, ttl, value], context) => setUntil(key, value, readExpiry(ttl, 'EX', context))],
  ['PSETEX', ([, key, ttl, value], context) => setUntil(key, value, readExpiry(ttl, 'PX', context))],
  ['EXPIRE', (args, context) => expireAt(args, 'EX', context)],
  ['PEXPIRE', (args, context) => expireAt(args, 'PX', context)],
  ['EXPIREAT', (args, context) => expireAt(args, 'EXAT', context)],
  ['PEXPIREAT', (args, context) => expireAt(args, 'PXAT', context)],
  ['HEXPIRE', (args, context) => expireFieldsAt(args, 'EX', context)],
  ['HPEXPIRE', (args, context) => expireFieldsAt(args, 'PX', context)],
  ['HEXPIREAT', (args, context) => expireFieldsAt(args, 'EXAT', context)],
  ['HPEXPIREAT', (args, context) => expireFieldsAt(args, 'PXAT', context)],
  ['HPERSIST', leaveOutFieldTtl],
  ['HGETEX', leaveOutFieldTtl],
  ['HGETDEL', deleteFields],
  ['RESTORE', restore],
  ['RESTORE-ASKING', restore],
  ['FUNCTION', restoreFunctions],
  ['HSETEX', setFields],
  ['MSETEX', setOneByOne],
  ['XADD', withoutTrimLimit],
  ['XTRIM', withoutTrimLimit],
  ['SET', setUnconditionally],
]);

/** Which of the commands of a name its rule is for: none with fewer arguments, and others cost no more than this look. */
type Concern = { readonly argumentsMin: number; isConcerned(command: CommandReader): boolean };

/** Of frequent commands. */
const CONCERNED: ReadonlyMap<string, Concern> = new Map([
  ['XADD', { argumentsMin: LIMITED_TRIM_ARGUMENTS_MIN, isConcerned: mayHaveTrimLimit }],
  ['XTRIM', { argumentsMin: LIMITED_TRIM_ARGUMENTS_MIN, isConcerned: mayHaveTrimLimit }],
  ['SET', { argumentsMin: VALUE_CONDITION_ARGUMENTS_MIN, isConcerned: hasValueCondition }],
]);

/** Where a command has an expiry among its options. */
type OptionLayout = {
  /** With fewer it has none, and needs no look at its arguments. */
  readonly argumentsMin: number;
  /** The first option. */
  optionsAt(args: Arguments): number;
  /** How many arguments each of the fields has that follow `FIELDS n`. */
  readonly fieldWidth?: number;
};

const EXPIRY_OPTIONS: ReadonlyMap<string, OptionLayout> = new Map<string, OptionLayout>([
  ['SET', { argumentsMin: 5, optionsAt: () => 3 }],
  ['GETEX', { argumentsMin: 4, optionsAt: () => 2 }],
  ['MSETEX', { argumentsMin: 6, optionsAt: (args) => 2 + 2 * Number(args[1]) }],
  ['HSETEX', { argumentsMin: 8, optionsAt: () => 2, fieldWidth: 2 }],
  ['HGETEX', { argumentsMin: 7, optionsAt: () => 2, fieldWidth: 1 }],
]);

/** `EX`, `PX`, `EXAT` or `PXAT` with their number among the options become `PXAT` with the padded time. */
function withPaddedOption(
  command: CommandReader,
  args: Arguments,
  context: TranslationContext & { readonly layout: OptionLayout },
): readonly Part[] | undefined {
  const { optionsAt, fieldWidth } = context.layout;
  for (let index = optionsAt(args); index + 1 < args.length; index++) {
    const option = upper(args[index]);
    // The value to compare with may spell like an option.
    if (/^IFD?(EQ|NE)$/.test(option)) index += 1;
    if (option === 'FIELDS' && fieldWidth !== undefined) index += 1 + fieldWidth * Number(args[index + 1]);
    if (option !== 'EX' && option !== 'PX' && option !== 'EXAT' && option !== 'PXAT') continue;
    const atMs = readExpiry(args[index + 1], option, context);
    return atMs === undefined
      ? undefined
      : command.replaced(index, index + 2, encodeArguments(['PXAT', atMs]));
  }
  return undefined;
}

function setUntil(
  key: Buffer | undefined,
  value: Buffer | undefined,
  atMs: number | undefined,
): Command | undefined {
  if (key === undefined || value === undefined || atMs === undefined) return undefined;
  return ['SET', key, value, 'PXAT', atMs];
}

/** `SET key value IFEQ old *option`: it was sent because the condition was met; Valkey 8.0 does not know it. */
function setUnconditionally(args: Arguments, context: TranslationContext): Command {
  const command: (Buffer | string | number)[] = [...withoutValueCondition(args)];
  for (let index = 3; index + 1 < command.length; index++) {
    const [option, number] = [command[index], command[index + 1]];
    const unit = Buffer.isBuffer(option) ? EXPIRY_UNITS.find((name) => name === upper(option)) : undefined;
    if (unit === undefined || !Buffer.isBuffer(number)) continue;
    const atMs = readExpiry(number, unit, context);
    if (atMs !== undefined) command.splice(index, 2, 'PXAT', atMs);
    return command;
  }
  return command;
}

/** `EXPIRE key number [NX|XX|GT|LT]` and its kin: a padded time decides every condition as the exact one does. */
function expireAt(
  [, key, number, ...conditions]: Arguments,
  unit: ExpiryUnit,
  context: TranslationContext,
): Command | undefined {
  const atMs = readExpiry(number, unit, context);
  return key === undefined || atMs === undefined ? undefined : ['PEXPIREAT', key, atMs, ...conditions];
}

/** `HEXPIRE key number [condition] FIELDS n field*` and its kin. */
function expireFieldsAt(
  args: Arguments,
  unit: ExpiryUnit,
  context: TranslationContext,
): Command | typeof LEFT_OUT | undefined {
  if (!context.commands.has('HPEXPIREAT')) return leaveOutFieldTtl(args, context);
  const [, key, number, ...rest] = args;
  const atMs = readExpiry(number, unit, context);
  return key === undefined || atMs === undefined ? undefined : ['HPEXPIREAT', key, atMs, ...rest];
}

/** Only the expiry of fields is what these commands change: fields that have expired the source deletes by HDEL. */
function leaveOutFieldTtl(
  [, key]: Arguments,
  { commands, hashFieldTtl, skip }: TranslationContext,
): typeof LEFT_OUT | undefined {
  if (hashFieldTtl === 'refuse' || key === undefined || commands.has('HPEXPIREAT')) return undefined;
  skip('commands', HASH_FIELD_TTL, key);
  return LEFT_OUT;
}

/** `HGETDEL key FIELDS n field*`: the answer is of no interest here. */
function deleteFields(args: Arguments, { commands }: TranslationContext): Command | undefined {
  const [, key, fields, count, ...names] = args;
  if (commands.has('HGETDEL') || key === undefined || upper(fields) !== 'FIELDS') return undefined;
  return ['HDEL', key, ...names.slice(0, Number(count))];
}

/** `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME s] [FREQ n]`: a footer for the target, a padded expiry. */
function restore(args: Arguments, context: RuleContext): Command | undefined {
  const [, key, ttl, payload, ...options] = args;
  if (key === undefined || ttl === undefined || payload === undefined) return undefined;
  const head = headOf(payload, context);
  const type = head[0] ?? 0;
  if (type === TYPE_MODULE) {
    context.skip('keys', `module ${moduleName(head, 1)}`, key);
    return ['UNLINK', key];
  }
  const isOfThisTarget = context.hasHashFieldTtls || !isExpiringHash(type);
  const restored = toRestored(payload, context);
  if (!isOfThisTarget) context.skip('keys', HASH_FIELD_TTL, key);
  const isAbsolute = options.some((option) => upper(option) === 'ABSTTL');
  const isExpiring = ttl.toString('latin1') !== '0';
  const atMs = isExpiring ? readExpiry(ttl, isAbsolute ? 'PXAT' : 'PX', context) : undefined;
  return [
    'RESTORE',
    key,
    atMs ?? ttl,
    restored,
    ...options,
    ...(atMs === undefined || isAbsolute ? [] : ['ABSTTL']),
  ];
}

/** The type and, of a module, the id. */
function headOf(payload: Buffer, { standIns }: RuleContext): Buffer {
  const held = standIns.get(payload)?.[0];
  const whole = held === undefined || Buffer.isBuffer(held) ? payload : held.held;
  return Buffer.isBuffer(whole) ? whole.subarray(0, HEAD_BYTES) : whole.read(0, HEAD_BYTES);
}

const HEAD_BYTES = 10;

function toRestored(payload: Buffer, context: RuleContext): Buffer {
  const held = context.standIns.get(payload)?.[0];
  if (held === undefined || Buffer.isBuffer(held)) return toTargetPayload(payload, context);
  const standIn = Buffer.alloc(0);
  context.standIns.set(standIn, toTargetParts(held.held, context));
  return standIn;
}

/** `FUNCTION RESTORE payload [policy]`: the payload has the footer of a DUMP, of a version that the target may refuse. */
function restoreFunctions(args: Arguments, { standIns }: RuleContext): Command | undefined {
  const [name, subcommand, given, ...policy] = args;
  if (name === undefined || given === undefined || upper(subcommand) !== 'RESTORE') return undefined;
  const held = standIns.get(given)?.[0];
  const payload = held === undefined || Buffer.isBuffer(held) ? given : held.held.read();
  if (payload.length < FOOTER_BYTES) return undefined;
  return [name, 'RESTORE', withFooter(payload, FOOTER_VERSION), ...policy];
}

/**
 * `HSETEX key [FNX|FXX] [KEEPTTL | expiry] FIELDS n (field value)*` for a target without it.
 *
 * Redis 8 sends HINCRBYFLOAT on any hash as HSETEX with KEEPTTL; without an expiry it is HSET in other words, since
 * its conditions were met at the source.
 */
function setFields(
  args: Arguments,
  { commands, hashFieldTtl, skip }: TranslationContext,
): Command | undefined {
  if (commands.has('HSETEX')) return undefined;
  const [, key, ...rest] = args;
  const fieldsAt = rest.findIndex((option) => upper(option) === 'FIELDS');
  if (key === undefined || fieldsAt === -1) throw refuseUnknown('HSETEX');
  const hasExpiry = rest.slice(0, fieldsAt).some((option) => /^[EP]X(AT)?$/.test(upper(option)));
  if (hasExpiry && hashFieldTtl === 'refuse') throw hashFieldTtlsUnsupported();
  if (hasExpiry) skip('commands', HASH_FIELD_TTL, key);
  return ['HSET', key, ...rest.slice(fieldsAt + 2, fieldsAt + 2 + 2 * Number(rest[fieldsAt + 1]))];
}
