import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');
const PAGES = [
  ...readdirSync(ROOT).filter((name) => name.endsWith('.md')),
  ...readdirSync(path.join(ROOT, 'docs')).map((name) => `docs/${name}`),
  'examples/rehearsal/README.md',
];

test.each(PAGES)('every relative link of %s leads to a file, and to a heading where it names one', (page) => {
  expect(brokenLinks(page, readFileSync(path.join(ROOT, page), 'utf8'))).toEqual([]);
});

test.each(PAGES)('every path of the repository that %s names in code is there', (page) => {
  const text = readFileSync(path.join(ROOT, page), 'utf8');
  const paths = [
    ...text.matchAll(/`((?:src|test|scripts|docs|templates|examples|\.github|\.ci)\/[\w./-]+)`/g),
  ].map(([, file]) => file ?? '');
  expect(paths.filter((file) => !existsSync(path.join(ROOT, file)))).toEqual([]);
});

describe('a broken link', () => {
  const headings = '# One\n\n## `two-three` and more\n';
  test.each([
    ['to a file', '[a](nowhere.md)', ['nowhere.md']],
    ['to a heading of another page', '[a](README.md#nowhere)', ['README.md#nowhere']],
    ['to a heading of its own', `${headings}[a](#nowhere)`, ['#nowhere']],
    ['is not one to a heading that is there', `${headings}[a](#one) [b](#two-three-and-more)`, []],
    ['is not one to the web', '[a](https://example.com/nowhere)', []],
  ])('%s', (_, text, expected) => {
    expect(brokenLinks('page.md', text)).toEqual(expected);
  });
});

function brokenLinks(page: string, text: string): string[] {
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? '');
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => {
      const [file = '', heading] = target.split('#');
      const linked = file === '' ? undefined : path.join(ROOT, path.dirname(page), file);
      if (linked !== undefined && !existsSync(linked)) return true;
      return (
        heading !== undefined &&
        !headingsOf(linked === undefined ? text : readFileSync(linked, 'utf8')).has(heading)
      );
    });
}

/** The anchors that GitHub gives to the headings of a page. */
function headingsOf(text: string): Set<string> {
  const titles = [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) => title ?? '');
  return new Set(
    titles.map((title) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}
