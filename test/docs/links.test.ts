import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { anchorsOf, PAGES, ROOT, readPage, sectionsOf } from './pages.ts';

test('the pages are those of the root, the documentation and the examples', () => {
  expect(PAGES).toEqual(
    expect.arrayContaining(['README.md', 'docs/phases.md', 'examples/rehearsal/README.md']),
  );
});

test.each(PAGES)('every relative link of %s leads to a file, and to a heading where it names one', (page) => {
  expect(brokenLinks(page, readPage(page))).toEqual([]);
});

test.each(PAGES)('every path of the repository that %s names in code is there', (page) => {
  const paths = [
    ...readPage(page).matchAll(/`((?:src|test|scripts|docs|templates|examples|\.github|\.ci)\/[\w./-]+)`/g),
  ].map(([, file]) => file ?? '');
  expect(paths.filter((file) => !existsSync(path.join(ROOT, file)))).toEqual([]);
});

test.each([
  'docs/what-if.md',
  'docs/understanding-the-report.md',
  'docs/operator-guide.md',
  'docs/comparison.md',
])('%s is found from the README', (page) => {
  const links = sectionsOf(readPage('README.md')).flatMap((section) => section.links);
  expect(links).toContain(page);
});

describe('a broken link', () => {
  const headings = '# One\n\n## `two-three` and more\n\n## One\n\n## 한국어 제목\n';
  test.each([
    ['to a file', '[a](nowhere.md)', ['nowhere.md']],
    ['to a heading of another page', '[a](README.md#nowhere)', ['README.md#nowhere']],
    ['to a heading of its own', `${headings}[a](#nowhere)`, ['#nowhere']],
    ['is not one to a heading that is there', `${headings}[a](#one) [b](#two-three-and-more)`, []],
    ['is not one to the second heading of a name', `${headings}[a](#one-1)`, []],
    ['is one to a third that is not there', `${headings}[a](#one-2)`, ['#one-2']],
    ['is not one to a heading in Korean', `${headings}[a](#한국어-제목)`, []],
    ['is one to a comment in a block of code', '```sh\n# one\n```\n[a](#one)', ['#one']],
    ['is not one to the web', '[a](https://example.com/nowhere)', []],
    ['is one to the web without encryption', '[a](http://example.com)', ['http://example.com']],
  ])('%s', (_, text, expected) => {
    expect(brokenLinks('page.md', text)).toEqual(expected);
  });
});

function brokenLinks(page: string, text: string): string[] {
  return sectionsOf(text)
    .flatMap((section) => section.links)
    .filter((target) => {
      if (/^[a-z]+:/.test(target)) return !target.startsWith('https://');
      const [file = '', heading] = decodeURI(target).split('#');
      const linked = path.join(path.dirname(page), file);
      if (file !== '' && !existsSync(path.join(ROOT, linked))) return true;
      return heading !== undefined && !anchorsOf(file === '' ? text : readPage(linked)).has(heading);
    });
}
