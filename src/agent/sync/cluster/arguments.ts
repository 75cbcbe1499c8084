import { CommandReader } from '../../redis/command-reader.ts';
import type { Part } from '../../redis/held-bytes.ts';
import type { Command } from '../../redis/raw-connection.ts';
import { piecesOf } from '../target-writer.ts';
import type { Arguments } from './command-keys.ts';

/** The arguments of the command that the reader stands on: views, unless some of it is on disk. */
export function readArguments(reader: CommandReader): Arguments {
  // Of what was put on disk as it was encoded, the arguments must be found anew.
  if (reader.isHeld) return decodeArguments(reader.parts());
  return Array.from({ length: reader.argumentCount }, (_, index) => reader.argument(index));
}

/** The arguments of an encoded command, all of them in memory. */
export function decodeArguments(parts: readonly Part[]): Arguments {
  const hold = () => {
    throw new Error('nothing is held of a command that is decoded');
  };
  const reader = new CommandReader({
    hold,
    isTranslated: () => true,
    heldArgumentBytesMin: Number.POSITIVE_INFINITY,
  });
  for (const part of parts) for (const piece of piecesOf(part)) reader.push(piece);
  if (!reader.next()) throw new Error('the encoded bytes are no command');
  return Array.from({ length: reader.argumentCount }, (_, index) => reader.argument(index));
}

/** A command in words as arguments. */
export function toArguments(command: Command): Arguments {
  return command.map((word) => (Buffer.isBuffer(word) ? word : Buffer.from(String(word))));
}
