import { createHash } from 'node:crypto';
import type { KeyDisplay } from '../../contract/jobs.ts';

/** The most characters of a name that are shown. */
const SHOWN_LENGTH_MAX = 200;

/**
 * A name of the customer's (key, field, member, group) as the report may show it.
 *
 * Shown: printable ASCII as it is, `\` and all other bytes as `\xNN`, cut at 200 characters with its length in bytes.
 * Hashed: the first 16 hexadecimal digits of its SHA-256. Hidden: nothing of it.
 */
export function displayName(name: Buffer, display: KeyDisplay): string {
  if (display === 'hidden') return '(hidden)';
  if (display === 'hashed') return createHash('sha256').update(name).digest('hex').slice(0, 16);
  let text = '';
  for (const byte of name) {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x5c;
    text += isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
    if (text.length > SHOWN_LENGTH_MAX) return `${text.slice(0, SHOWN_LENGTH_MAX)}… (${name.length} bytes)`;
  }
  return text;
}
