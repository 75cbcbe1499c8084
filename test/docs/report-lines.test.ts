import { globSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { GOLDEN_FOLDER } from '../../scripts/sample-summaries.ts';
import { handwrittenOf, ROOT, readPage, sectionsOf } from './pages.ts';

// What the page for reviewers explains must be what summaries say: a line that is worded anew there fails here.

/** Golden summaries, and for what no sample has the words in the code that writes them. */
const SUMMARIES = [
  ...globSync(`${GOLDEN_FOLDER}/*.md`, { cwd: ROOT }),
  ...globSync(['src/action/summary/*.ts', 'src/agent/cutover/fence*.ts', 'src/contract/skipped.ts'], {
    cwd: ROOT,
  }),
].map((file) => plain(readPage(file)));

const LINES = sectionsOf(handwrittenOf(readPage('docs/understanding-the-report.md')))
  .flatMap(({ tables }) => tables)
  .filter(([head]) => head?.[0] === 'line')
  .flatMap((table) => table.slice(1).flatMap(([line = '']) => quotesIn(line)));

test('there are lines to explain', () => {
  expect(LINES.length).toBeGreaterThan(30);
});

test.each(LINES)('a summary says: %s', (line) => {
  expect(isSaid(line)).toBe(true);
});

describe('a line', () => {
  test('may leave out with … what differs from run to run, and nothing else', () => {
    expect(isSaid('**Equal.** … keys compared')).toBe(true);
    expect(isSaid('**Equal.** … keys were compared')).toBe(false);
  });
});

/** A cell quotes in code: one line or several. */
function quotesIn(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, quote]) => quote ?? '');
}

function isSaid(line: string): boolean {
  const pieces = line.split('…').map((piece) => plain(piece).replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  // Over no end of a line, except those by which the code is formatted.
  const pattern = new RegExp(pieces.join('.{0,200}?'));
  return SUMMARIES.some((text) => pattern.test(text));
}

/** Without what marks code and what the code puts between its words. */
function plain(text: string): string {
  return text
    .replaceAll(/[`'"]/g, '')
    .replaceAll(/\$\{[^}]*\}/g, ' 1 ')
    .replaceAll(/[ \t]+/g, ' ');
}
