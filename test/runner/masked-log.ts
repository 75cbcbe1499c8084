import { parseMasks } from './command-files.ts';

/** The log of a run, as GitHub shows it: what was masked before a line is not in that line. */
export type MaskedLog = {
  readonly lines: readonly string[];
  /** Hides a value from here on. */
  mask(value: string): void;
  write(text: string): void;
};

/** Begins a log that hides these values. */
export function openMaskedLog(secrets: readonly string[]): MaskedLog {
  const lines: string[] = [];
  const masks = new Set<string>();
  const mask = (value: string) => {
    for (const part of [value, ...value.split('\n')]) if (part.trim() !== '') masks.add(part);
  };
  for (const secret of secrets) mask(secret);
  return {
    lines,
    mask,
    write: (text) => {
      for (const line of text.split('\n')) {
        for (const value of parseMasks(line)) mask(value);
        lines.push([...masks].reduce((shown, value) => shown.replaceAll(value, '***'), line));
      }
    },
  };
}
