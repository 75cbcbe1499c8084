import { parseAddress } from '../contract/endpoint.ts';
import { MigrationError } from '../core/errors.ts';
import { parseBytes } from '../core/units.ts';

/** Gives the text of an input as the runner passes it; empty where it is not given. */
export type ReadInput = (name: string) => string;

/** The text of an input that must be given. @throws input-missing */
export function required(read: ReadInput, name: string): string {
  const text = read(name);
  if (text === '') throw new MigrationError('input-missing', `\`${name}\` is empty.`);
  return text;
}

/** The text of an input that must be given and look like this. @throws input-missing, input-malformed */
export function readPattern(
  read: ReadInput,
  name: string,
  { pattern, expected }: { pattern: RegExp; expected: string },
): string {
  const text = required(read, name);
  if (!pattern.test(text)) throw malformed(name, text, expected);
  return text;
}

/** `true` or `false`. @throws input-missing, input-malformed */
export function readFlag(read: ReadInput, name: string): boolean {
  return readChoice(read, name, ['true', 'false'] as const) === 'true';
}

/** One of some words. @throws input-missing, input-malformed */
export function readChoice<Choice extends string>(
  read: ReadInput,
  name: string,
  choices: readonly Choice[],
): Choice {
  const text = required(read, name);
  const choice = choices.find((one) => one === text);
  if (choice === undefined) throw malformed(name, text, choices.join(' or '));
  return choice;
}

/** A whole number within bounds. @throws input-missing, input-malformed */
export function readCount(
  read: ReadInput,
  name: string,
  { least, most }: { least: number; most: number },
): number {
  const text = required(read, name);
  const count = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= least && count <= most))
    throw malformed(name, text, `a whole number from ${least} to ${most}`);
  return count;
}

/** A number of bytes such as `50MB`, or undefined where nothing is given. @throws input-malformed */
export function readBytes(read: ReadInput, name: string, { least }: { least: number }): number | undefined {
  const text = read(name);
  if (text === '') return undefined;
  const bytes = parseBytes(text);
  if (bytes === undefined || bytes < least) {
    throw malformed(name, text, `a number of bytes such as 50MB or 20 MiB, at least ${least}`);
  }
  return bytes;
}

/** `host:port`, or undefined where nothing is given. @throws input-malformed */
export function readAddress(read: ReadInput, name: string): { host: string; port: number } | undefined {
  const text = read(name);
  if (text === '') return undefined;
  const address = parseAddress(text);
  if (address === undefined) throw malformed(name, text, 'host:port');
  return address;
}

/** An absolute path without `..`, or undefined where nothing is given. @throws input-malformed */
export function readPath(read: ReadInput, name: string): string | undefined {
  const text = read(name);
  if (text === '') return undefined;
  if (!/^\/[^\0\r\n]{1,1000}$/.test(text) || text.split('/').includes('..')) {
    throw malformed(name, text, 'an absolute path');
  }
  return text;
}

/** A property that is there only when it has a value: how exactOptionalPropertyTypes wants it. */
export function optional<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): { [Key in Name]?: Value } {
  const holder: { [Key in Name]?: Value } = {};
  if (value !== undefined) holder[name] = value;
  return holder;
}

/** The error of an input that does not look as it must; the value is shown in part. */
export function malformed(name: string, value: string, expected: string): MigrationError {
  return new MigrationError(
    'input-malformed',
    `\`${name}\` is ${JSON.stringify(value.slice(0, 200))}; expected ${expected}.`,
  );
}

/** The error of inputs that exclude each other. */
export function contradictory(message: string): MigrationError {
  return new MigrationError('input-contradictory', message);
}
