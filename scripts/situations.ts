import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ERROR_CODES } from '../src/core/error-codes.ts';
import { ROOT } from './tool.ts';

/** The page that says what to do in each situation. */
export const SITUATIONS_PAGE = 'docs/what-if.md';

/** A heading of that page, as a link from beside it. */
export type Situation = { readonly title: string; readonly anchor: string };

/** For each error code the situations in which it is what one sees, in the order of the page. */
export function situationsByCode(): ReadonlyMap<string, readonly Situation[]> {
  const [, ...parts] = readFileSync(path.join(ROOT, SITUATIONS_PAGE), 'utf8').split(/^### /m);
  const byCode = new Map<string, Situation[]>(Object.keys(ERROR_CODES).map((code) => [code, []]));
  for (const part of parts) {
    const [title = '', ...rest] = part.split('\n');
    const seen = /^- \*\*You see:\*\*([\s\S]*?)^- \*\*/m.exec(rest.join('\n'))?.[1] ?? '';
    for (const [, code = ''] of seen.matchAll(/`([a-z-]+)`/g)) byCode.get(code)?.push(situation(title));
  }
  return byCode;
}

/** Codes that are seen in a situation of their own, each with links to it. */
export function situationsTable(
  table: (head: readonly string[], rows: readonly (readonly string[])[]) => string,
): string {
  const rows = [...situationsByCode()]
    .filter(([, situations]) => situations.length > 0)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([code, situations]) => [
      `\`${code}\``,
      situations.map(({ title, anchor }) => `[${title}](#${anchor})`).join(' · '),
    ]);
  return table(['code', 'what may have happened'], rows);
}

function situation(title: string): Situation {
  const anchor = title
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
  return { title, anchor };
}
