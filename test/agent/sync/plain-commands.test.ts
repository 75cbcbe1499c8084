import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Command, encodeCommands } from '../../../src/agent/redis/raw-connection.ts';
import { RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import { openCommandReader } from '../../../src/agent/sync/known-commands.ts';
import { moduleCommands } from '../../../src/agent/sync/module-commands.ts';
import { PlainCommands } from '../../../src/agent/sync/plain-commands.ts';
import { Skips } from '../../../src/agent/sync/skips.ts';
import { knowCommands } from '../../../src/agent/sync/stream-commands.ts';
import { TouchedKeys } from '../../../src/agent/touched/touched-keys.ts';
import { startSwallowingTarget } from '../../fuzz/swallowing-target.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'valkey-migrate-plain-'));
afterAll(() => rmSync(directory, { recursive: true }));

const KNOWN = ['SET', 'MSET', 'DEL', 'LPUSH', 'PEXPIREAT'];
const PLAIN: readonly Command[] = [
  ['SET', 'k', 'v'],
  ['set', 'k', ''],
  ['LPUSH', 'list', 'a', 'b'],
  ['SET', 'large', 'x'.repeat(100_000)],
  ['MSET', 'a', 'y'.repeat(60_000), 'b', Buffer.of(0, 13, 10)],
  ['DEL', 'k'],
];
const OTHERS: readonly Command[] = [
  ['SELECT', '0'],
  ['PING'],
  ['MULTI'],
  ['SET', 'k', 'v', 'PX', '100'],
  ['PEXPIREAT', 'k', '1'],
  ['SET', RESERVED_KEY, 'not ours'],
  ['SET', 'k', 'z'.repeat(150_000)],
  ['UNKNOWN.TO', 'the', 'target'],
  ['PUBLISH', 'channel', 'message'],
];
/** Each kind behind each other kind, and long runs in between. */
const STREAM: readonly Command[] = OTHERS.flatMap((other, index) => [
  ...PLAIN,
  other,
  ...Array.from({ length: 2 * index }, () => PLAIN).flat(),
  ...Array.from({ length: 400 * index }, (): Command => ['SET', 'k', 'v']),
  other,
  other,
]);

async function passAll(pieceBytes: number, commandsMax: number): Promise<Buffer> {
  const sent: Buffer[] = [];
  await using target = await startSwallowingTarget((chunk) => sent.push(Buffer.from(chunk)));
  await using writer = await target.open();
  await writer.settle();
  const greeting = Buffer.concat(sent).length;
  using reader = openCommandReader(directory);
  using touched = new TouchedKeys({ directory, log: () => {} });
  const known = knowCommands({
    writer,
    commands: { has: (name) => KNOWN.includes(name) },
    moduleCommands: moduleCommands(undefined),
    keys: undefined,
  });
  const skips = new Skips({ directory, keyDisplay: 'hashed', counts: [] });
  const plain = new PlainCommands({ reader, writer, known, skips, touched });
  let begun = 0;
  const stream = encodeCommands(STREAM);
  for (let at = 0; at < stream.length; at += pieceBytes) {
    reader.push(stream.subarray(at, at + pieceBytes));
    for (;;) {
      const before = writer.commandCount;
      const begunBefore = begun;
      const end = plain.pass({ db: 0, commandsMax, begin: () => (begun += 1) });
      expect(plain.count).toBeLessThanOrEqual(commandsMax);
      expect(writer.commandCount - before).toBe(plain.count);
      expect(begun - begunBefore).toBe(plain.count > 0 ? 1 : 0);
      if (end === 'no-more') break;
      if (end === 'other-command') writer.write(['ECHO', reader.name]);
      if (!writer.hasRoom) await writer.room();
    }
  }
  await writer.settle();
  expect(target.complaint).toBeUndefined();
  return Buffer.concat(sent).subarray(greeting);
}

describe('commands that go as they are', () => {
  const expected = encodeCommands(
    STREAM.map((command) => (OTHERS.includes(command) ? ['ECHO', command[0] ?? ''] : command)),
  );

  it.each([
    [7_777, 1_000],
    [64 * 1024, 3],
    [256 * 1024, 4_096],
    [1_000_003, 100_000],
  ])(
    'are passed on in their order, byte by byte, others are left to who looks closer: pieces of %i bytes, %i at once',
    async (pieceBytes, commandsMax) => {
      expect((await passAll(pieceBytes, commandsMax)).equals(expected)).toBe(true);
    },
  );
});
