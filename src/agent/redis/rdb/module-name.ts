const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const NAME_LENGTH = 9;

/**
 * The name in the module id at `at`: a 64-bit length of nine characters of 6 bits, then 10 bits of version.
 * Anything else is `of no name`.
 */
export function moduleName(bytes: Buffer, at: number): string {
  if (bytes[at] !== 0x81 || at + 9 > bytes.length) return 'of no name';
  let id = bytes.readBigUInt64BE(at + 1) >> 10n;
  let name = '';
  for (let position = 0; position < NAME_LENGTH; position++) {
    name = (CHARACTERS[Number(id & 63n)] ?? '') + name;
    id >>= 6n;
  }
  return name;
}
