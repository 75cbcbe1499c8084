import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';

/**
 * A text that only the holder of one private key can read, and only for what it was sealed for.
 *
 * ```
 * base64( ephemeral public key (32) | nonce (12) | tag (16) | AES-256-GCM( length (4) | text | zeros ) )
 * key = HKDF-SHA256( X25519(ephemeral, recipient), salt = ephemeral | recipient, info )
 * ```
 *
 * A fresh key pair seals each text, so no key is ever used twice. The binding is authenticated and not carried: who opens
 * it must say the same. The zeros hide how long the text is.
 */
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const LENGTH_BYTES = 4;
const PADDED_TO_BYTES = 256;
const CIPHER = 'aes-256-gcm';
const INFO = 'valkey-migrate sealed text 1';
/** What stands before the 32 bytes of an X25519 key in DER. Source: RFC 8410. */
const DER_HEAD = Buffer.from('302a300506032b656e032100', 'hex');

/** A text that is longer is no password. */
export const SEALED_TEXT_BYTES_MAX = 8 * 1024;

/** Makes the private key of a recipient, as PEM. */
export function makeSealingKey(): string {
  return generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** What others seal for that recipient with: 32 bytes in base64. */
export function publicSealingKey(privateKeyPem: string): string {
  return rawPublicKey(createPublicKey(privateKeyPem)).toString('base64');
}

/** Seals a text. @throws Error for a public key that is none, and for a text over {@link SEALED_TEXT_BYTES_MAX} */
export function sealText(
  text: string,
  { publicKey, binding }: { publicKey: string; binding: string },
): string {
  const bytes = Buffer.from(text);
  if (bytes.length > SEALED_TEXT_BYTES_MAX) throw new Error(`It has over ${SEALED_TEXT_BYTES_MAX} bytes`);
  const recipientKey = Buffer.from(publicKey, 'base64');
  if (recipientKey.length !== KEY_BYTES) throw new Error('The public key is not one of X25519');
  const recipient = createPublicKey({
    key: Buffer.concat([DER_HEAD, recipientKey]),
    type: 'spki',
    format: 'der',
  });
  const ephemeral = generateKeyPairSync('x25519');
  const ephemeralKey = rawPublicKey(ephemeral.publicKey);
  const shared = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: recipient });
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, deriveKey(shared, ephemeralKey, recipientKey), nonce);
  cipher.setAAD(Buffer.from(binding));
  const sealed = Buffer.concat([cipher.update(padded(bytes)), cipher.final()]);
  return Buffer.concat([ephemeralKey, nonce, cipher.getAuthTag(), sealed]).toString('base64');
}

/** The text; undefined where it was sealed for another key or another binding, or was altered. */
export function openSealedText(
  sealed: string,
  { privateKeyPem, binding }: { privateKeyPem: string; binding: string },
): string | undefined {
  const bytes = Buffer.from(sealed, 'base64');
  const ephemeralKey = bytes.subarray(0, KEY_BYTES);
  const nonce = bytes.subarray(KEY_BYTES, KEY_BYTES + NONCE_BYTES);
  const tag = bytes.subarray(KEY_BYTES + NONCE_BYTES, KEY_BYTES + NONCE_BYTES + TAG_BYTES);
  const privateKey = createPrivateKey(privateKeyPem);
  try {
    const publicKey = createPublicKey({
      key: Buffer.concat([DER_HEAD, ephemeralKey]),
      type: 'spki',
      format: 'der',
    });
    const shared = diffieHellman({ privateKey, publicKey });
    const key = deriveKey(shared, ephemeralKey, rawPublicKey(createPublicKey(privateKeyPem)));
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(binding)).setAuthTag(tag);
    const body = bytes.subarray(KEY_BYTES + NONCE_BYTES + TAG_BYTES);
    const opened = Buffer.concat([decipher.update(body), decipher.final()]);
    return opened.subarray(LENGTH_BYTES, LENGTH_BYTES + opened.readUInt32BE(0)).toString();
  } catch {
    // Whatever is wrong with it, it does not open; the words of OpenSSL tell nobody more.
    return undefined;
  }
}

function deriveKey(shared: Buffer, ephemeralKey: Buffer, recipientKey: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', shared, Buffer.concat([ephemeralKey, recipientKey]), INFO, 32));
}

function padded(bytes: Buffer): Buffer {
  const length = LENGTH_BYTES + bytes.length;
  const whole = Buffer.alloc(Math.ceil(length / PADDED_TO_BYTES) * PADDED_TO_BYTES);
  whole.writeUInt32BE(bytes.length, 0);
  bytes.copy(whole, LENGTH_BYTES);
  return whole;
}

function rawPublicKey(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' }).subarray(DER_HEAD.length);
}
