import { readFileSync } from 'node:fs';
import path from 'node:path';
import { DIFFERENCE_KIND_WORDS } from '../src/action/summary/verify.ts';
import { type DifferenceKind, differenceKindSchema } from '../src/contract/reports.ts';
import { ROOT } from './tool.ts';

/** Where the summaries lie that test/action/summary compares the real ones with. */
export const GOLDEN_FOLDER = 'test/action/summary/golden';

/** What a kind of difference most often comes from, for the reviewer; a new kind does not compile without it. */
const OFTEN_FROM: Record<DifferenceKind, string> = {
  missing: 'eviction or a delete at the target, or a sync that was not live yet',
  extra: 'somebody has written to the target, or it was not empty',
  type: 'somebody has written to the target',
  value: 'somebody has written to the target',
  ttl: 'somebody has set or removed an expiry time at the target',
  'stream-metadata':
    'groups were read or acknowledged at the target; on the route `scan` what no notification tells of',
  function: 'a library was loaded or deleted at one side only',
};

/**
 * A golden summary as a quotation: rendered as GitHub renders the summary of a job, but no part of the page around it.
 * What a quotation cannot hold, headings of the page's own outline and alerts, becomes bold.
 */
export function quotedSummary(name: string): string {
  const text = readFileSync(path.join(ROOT, GOLDEN_FOLDER, `${name}.md`), 'utf8').trimEnd();
  return text
    .split('\n')
    .map((line) => line.replace(/^#+ (.+)$/, '**$1**').replace(/^> \[!(\w+)\]$/, '> **$1**'))
    .map((line) => (line === '' ? '>' : `> ${line}`))
    .join('\n');
}

/** Every kind of difference in the words of the summary. */
export function kindsTable(
  table: (head: readonly string[], rows: readonly (readonly string[])[]) => string,
): string {
  const kinds = differenceKindSchema.options.map((kind) => [
    `\`${kind}\``,
    DIFFERENCE_KIND_WORDS[kind],
    OFTEN_FROM[kind],
  ]);
  return table(['kind', 'what it means', 'where it most often comes from'], kinds);
}
