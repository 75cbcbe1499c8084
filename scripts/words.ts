import { readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { ROOT } from './tool.ts';

const describedSchema = z.record(z.string(), z.strictObject({ en: z.string(), ko: z.string() }));
const translationSchema = z.strictObject({
  inputs: describedSchema,
  outputs: describedSchema,
  cells: z.record(z.string(), z.string()),
});
type Kind = 'inputs' | 'outputs';

/** The words of a language for the tables that are made from action.yml. */
export type Words = {
  descriptionOf(kind: Kind, name: string, english: string): string;
  /** Heads of columns, and the few cells that are words and no names. */
  cell(english: string): string;
};

/** As action.yml has them. */
export const ENGLISH: Words = { descriptionOf: (_, __, english) => english, cell: (english) => english };

const TRANSLATION = translationSchema.parse(
  JSON.parse(readFileSync(path.join(ROOT, 'scripts/ko.json'), 'utf8')),
);

/** As scripts/ko.json has them; what is not translated, or was and has changed since, stays English. */
export const KOREAN: Words = {
  descriptionOf: (kind, name, english) => {
    const entry = TRANSLATION[kind][name];
    return entry?.en === english ? entry.ko : english;
  },
  cell: (english) => TRANSLATION.cells[english] ?? english,
};

/** What of the descriptions by name has no Korean of what they say now, and what is translated that is not there. */
export function untranslated(kind: Kind, descriptions: Readonly<Record<string, string>>): string[] {
  const entries = TRANSLATION[kind];
  const stale = Object.entries(descriptions).filter(([name, english]) => entries[name]?.en !== english);
  const gone = Object.keys(entries).filter((name) => !(name in descriptions));
  return [...stale.map(([name]) => name), ...gone];
}
