import type { Random } from '../random.ts';

/** Bytes that begin something: types, opcodes, lengths, encodings. */
const TELLING = [
  0, 1, 2, 3, 4, 5, 7, 14, 15, 18, 21, 22, 24, 25, 63, 64, 127, 128, 129, 192, 193, 194, 195,
].concat([243, 244, 245, 247, 248, 249, 250, 251, 252, 253, 254, 255]);
/** Marks of the command stream and of replies. */
const MARKS = Array.from('*$+-:\r\n0123456789', (mark) => mark.charCodeAt(0));
const CHANGES_MAX = 4;
const SEGMENT_BYTES_MAX = 64;

type Mutation = (input: Buffer, random: Random, other: Buffer) => Buffer;

const MUTATIONS: readonly Mutation[] = [flipBit, setByte, setTelling, setLength, insertLength, insertNoise];
const REARRANGEMENTS: readonly Mutation[] = [remove, repeat, splice, truncate];

/** A damaged copy of `input`, possibly with a part of `other` in it. */
export function mutate(input: Buffer, random: Random, other: Buffer): Buffer {
  let mutated = Buffer.from(input);
  for (let left = 1 + random.below(CHANGES_MAX); left > 0; left--) {
    const list = random.below(4) === 0 ? REARRANGEMENTS : MUTATIONS;
    mutated = Buffer.from(random.pick(list)(mutated, random, other));
  }
  return mutated;
}

function flipBit(input: Buffer, random: Random): Buffer {
  const at = random.below(input.length);
  if (at < input.length) input[at] = (input[at] ?? 0) ^ (1 << random.below(8));
  return input;
}

function setByte(input: Buffer, random: Random): Buffer {
  if (input.length > 0) input[random.below(input.length)] = random.below(256);
  return input;
}

function setTelling(input: Buffer, random: Random): Buffer {
  if (input.length > 0)
    input[random.below(input.length)] = random.pick(random.below(2) === 0 ? TELLING : MARKS);
  return input;
}

/** Overwrites what stands somewhere with a length, often an absurd one. */
function setLength(input: Buffer, random: Random): Buffer {
  absurdLength(random).copy(input, random.below(input.length + 1));
  return input;
}

function insertLength(input: Buffer, random: Random): Buffer {
  return insert(input, random, absurdLength(random));
}

function absurdLength(random: Random): Buffer {
  const size =
    random.pick([2, 255, 65_536, 2 ** 20, 2 ** 27, 2 ** 29, 2 ** 31, 2 ** 32 - 1]) + random.below(3) - 1;
  switch (random.below(5)) {
    case 0: {
      const encoded = Buffer.alloc(5, 0x80);
      encoded.writeUInt32BE(size >>> 0, 1);
      return encoded;
    }
    case 1: {
      const encoded = Buffer.alloc(9, 0x81);
      encoded.writeBigUInt64BE(
        random.below(2) === 0 ? BigInt(size) : 2n ** 63n + BigInt(random.below(2 ** 30)),
        1,
      );
      return encoded;
    }
    case 2: {
      // Of a compressed string: two lengths that do not fit each other.
      const encoded = Buffer.alloc(11, 0x80);
      encoded[0] = 0xc3;
      encoded.writeUInt32BE(random.below(64), 2);
      encoded.writeUInt32BE(size >>> 0, 7);
      return encoded;
    }
    case 3: {
      const encoded = Buffer.alloc(4);
      encoded.writeUInt32LE(size >>> 0);
      return encoded;
    }
    default:
      return Buffer.from(`${random.pick(['$', '*'])}${size}\r\n`);
  }
}

function insertNoise(input: Buffer, random: Random): Buffer {
  const noise = Buffer.from(Array.from({ length: 1 + random.below(12) }, () => random.below(256)));
  return insert(input, random, noise);
}

function insert(input: Buffer, random: Random, bytes: Buffer): Buffer {
  const at = random.below(input.length + 1);
  return Buffer.concat([input.subarray(0, at), bytes, input.subarray(at)]);
}

function remove(input: Buffer, random: Random): Buffer {
  const { from, to } = segment(input, random);
  return Buffer.concat([input.subarray(0, from), input.subarray(to)]);
}

function repeat(input: Buffer, random: Random): Buffer {
  const { from, to } = segment(input, random);
  return insert(input, random, input.subarray(from, to));
}

function splice(input: Buffer, random: Random, other: Buffer): Buffer {
  const { from, to } = segment(other, random);
  return insert(input, random, other.subarray(from, to));
}

function truncate(input: Buffer, random: Random): Buffer {
  return input.subarray(0, random.below(input.length + 1));
}

function segment(input: Buffer, random: Random): { from: number; to: number } {
  const from = random.below(input.length + 1);
  return { from, to: Math.min(input.length, from + random.below(SEGMENT_BYTES_MAX)) };
}

/** The bytes in pieces of random sizes, as a socket may give them. */
export function inRandomPieces(input: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  const sizeMax = random.pick([1, 3, 40, 1_000, 70_000]);
  for (let at = 0; at < input.length; ) {
    const size = 1 + random.below(sizeMax);
    pieces.push(input.subarray(at, at + size));
    at += size;
  }
  return pieces;
}
