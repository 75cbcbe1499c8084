import { expect, it } from 'vitest';
import {
  makeSealingKey,
  openSealedText,
  publicSealingKey,
  SEALED_TEXT_BYTES_MAX,
  sealText,
} from '../../src/core/sealing.ts';

const privateKeyPem = makeSealingKey();
const publicKey = publicSealingKey(privateKeyPem);
const binding = 'sessions at redis:6379';

it.each(['x', 'pl4nted$(id) "it\'s" \\ %41 ключ', 'x'.repeat(SEALED_TEXT_BYTES_MAX)])(
  'a sealed text opens by its key and for its binding: %.20s',
  (text) => {
    const sealed = sealText(text, { publicKey, binding });
    expect(sealed).toMatch(/^[A-Za-z0-9+/]+={0,2}$/);
    expect(openSealedText(sealed, { privateKeyPem, binding })).toBe(text);
  },
);

it('opens neither by another key nor for another binding', () => {
  const sealed = sealText('text', { publicKey, binding });
  expect(openSealedText(sealed, { privateKeyPem: makeSealingKey(), binding })).toBeUndefined();
  expect(openSealedText(sealed, { privateKeyPem, binding: `${binding}0` })).toBeUndefined();
});

it('does not open when any of its bytes is another, or when it is cut', () => {
  const sealed = Buffer.from(sealText('text', { publicKey, binding }), 'base64');
  for (let index = 0; index < sealed.length; index += 1) {
    const altered = Buffer.from(sealed);
    altered.writeUInt8(altered.readUInt8(index) ^ 1, index);
    expect(openSealedText(altered.toString('base64'), { privateKeyPem, binding })).toBeUndefined();
    const cut = sealed.subarray(0, index).toString('base64');
    expect(openSealedText(cut, { privateKeyPem, binding })).toBeUndefined();
  }
});

it('says nothing of the text: neither its length nor that it is the same again', () => {
  const [short, same, long] = ['text', 'text', 'x'.repeat(200)].map((text) =>
    sealText(text, { publicKey, binding }),
  );
  expect(short).not.toBe(same);
  expect(short?.length).toBe(long?.length);
});

it('takes no key that is none, and no text that is no password', () => {
  expect(() => sealText('text', { publicKey: 'AAAA', binding })).toThrow('X25519');
  // The point of low order: whatever is sealed for it, anybody could open.
  const zero = Buffer.alloc(32).toString('base64');
  expect(() => sealText('text', { publicKey: zero, binding })).toThrow();
  expect(() => sealText('x'.repeat(SEALED_TEXT_BYTES_MAX + 1), { publicKey, binding })).toThrow('bytes');
});
