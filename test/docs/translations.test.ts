import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { untranslated } from '../../scripts/words.ts';
import { readAction } from '../workflows/workflow-files.ts';
import { PAGES, proseOf, readPage, type Section, sectionsOf } from './pages.ts';

// A translation is kept in step with its original part by part: what one has and the other lacks is listed.

const TRANSLATED = ['README.md', 'docs/operator-guide.md'];
const ACTION = readAction();

test('the pages for operators are there in Korean, and nothing else is without an original', () => {
  const translations = PAGES.filter((page) => page.endsWith('.ko.md'));
  expect(translations).toEqual(TRANSLATED.map(koreanOf));
});

test.each(TRANSLATED)('%s and its Korean translation have the same parts', (page) => {
  expect(differences(readPage(page), readPage(koreanOf(page)))).toEqual([]);
});

test.each(TRANSLATED)('%s and its Korean translation lead to one another', (page) => {
  const [original, translation] = [readPage(page), readPage(koreanOf(page))];
  expect(original).toContain(`](${path.basename(koreanOf(page))})`);
  expect(translation).toContain(`](${path.basename(page)})`);
});

test.each(TRANSLATED)('the Korean translation of %s leads to Korean pages where there are some', (page) => {
  const ofEnglish = linksOf(readPage(koreanOf(page))).filter(({ file, shown }) => {
    const linked = path.join(path.dirname(page), file);
    return shown !== 'English' && TRANSLATED.includes(linked);
  });
  expect(ofEnglish).toEqual([]);
});

test.each(['inputs', 'outputs'] as const)(
  'scripts/ko.json has all %s in Korean, as action.yml describes them now; then: npm run docs',
  (kind) => {
    const descriptions = Object.entries(ACTION[kind]).map(([name, { description }]) => [name, description]);
    expect(untranslated(kind, Object.fromEntries(descriptions))).toEqual([]);
  },
);

test('a description that has changed, is new, or is gone is not translated', () => {
  const described = { 'error-code': 'Something else.', 'new-output': 'New.' };
  const found = untranslated('outputs', described);
  expect(found).toEqual(expect.arrayContaining(['error-code', 'new-output', 'result']));
});

describe('a translation out of step', () => {
  const original = [
    '# One\n\nWith `code`, 24 hours, and [a link](docs/setup.md).\n',
    '```sh\nnpm test # all\n```\n\n- a\n- b\n\n| a | b |\n| --- | --- |\n| `input` | 1 |\n',
    '## Two\n\nText.\n',
  ].join('\n');
  const translation = original
    .replaceAll('With', '함께')
    .replace('# all', '# 전부')
    .replace('# One', '# 하나');

  test('is none with other words and the same parts', () => {
    expect(differences(original, translation)).toEqual([]);
  });

  test.each([
    ['a heading', (text: string) => text.replace('## Two\n', '')],
    ['the level of a heading', (text: string) => text.replace('## Two', '### Two')],
    ['a command', (text: string) => text.replace('npm test', 'npm run test')],
    ['a block of code', (text: string) => text.replace(/```[\s\S]*```/, '')],
    ['a row', (text: string) => text.replace('| `input` | 1 |\n', '')],
    [
      'a column',
      (text: string) =>
        text.replace('| `input` | 1 |', '').replaceAll(' b |', '').replace('| --- | --- |', '| --- |'),
    ],
    ['the name of an input', (text: string) => text.replace('`input`', '`인풋`')],
    ['a name in the text', (text: string) => text.replace('`code`', 'code')],
    ['a link', (text: string) => text.replace('(docs/setup.md)', '(docs/phases.md)')],
    ['an entry of a list', (text: string) => text.replace('- b\n', '')],
    ['a number', (text: string) => text.replace('24 hours', '48 hours')],
  ])('lacks %s', (_, damage) => {
    expect(differences(original, damage(translation))).not.toEqual([]);
    expect(damage(translation)).not.toBe(translation);
  });
});

function koreanOf(page: string): string {
  return page.replace(/\.md$/, '.ko.md');
}

/** What the two pages do not have in common, by the headings of the original. */
function differences(original: string, translation: string): string[] {
  const [ours, theirs] = [partsOf(original), partsOf(translation)];
  const shape = (parts: readonly Part[]) => parts.map(({ depth }) => depth).join(' ');
  if (shape(ours) !== shape(theirs)) {
    return [
      `headings: ${ours.map(({ title }) => title).join(', ')} / ${theirs.map(({ title }) => title).join(', ')}`,
    ];
  }
  return ours.flatMap((part, index) => {
    const counterpart = theirs[index];
    if (counterpart === undefined) return [];
    const unlike = COMPARED.flatMap((name) => {
      const [here, there] = [JSON.stringify(part[name]), JSON.stringify(counterpart[name])];
      return here === there ? [] : [`${part.title}, ${name}: ${here} / ${there}`];
    });
    // Korean has digits where English has words.
    const numbers = part.numbers.filter((number) => !counterpart.numbers.includes(number));
    return [...unlike, ...numbers.map((number) => `${part.title}: ${number}`)];
  });
}

const COMPARED = ['code', 'tables', 'names', 'links', 'listItems'] as const;
type Part = ReturnType<typeof partOf>;

function partsOf(text: string): Part[] {
  // Text before the first heading stands under an empty one.
  const prose = text.split(/^#+ .+$/m).map(proseOf);
  return sectionsOf(text.replaceAll(/```[\s\S]*?```/g, (block) => block.replaceAll(/^#/gm, ' #'))).map(
    (section, index) => partOf(section, prose[index] ?? ''),
  );
}

function partOf({ title, depth, codeBlocks, tables, spans, links, listItems }: Section, prose: string) {
  return {
    title,
    depth,
    code: codeBlocks.map(({ language, text }) => `${language} ${text.replaceAll(/ *# .*$/gm, '')}`),
    tables: tables.map((rows) => `${rows.length} rows of ${rows[0]?.length ?? 0}`),
    names: [...new Set(spans)].sort(),
    links: [...new Set(links.map(linkedPage))].sort(),
    listItems,
    numbers: [...new Set(prose.match(/\d[\d,.]*\d|\d/g) ?? [])].sort(),
  };
}

/** A link to a page that is translated leads to its translation, where headings have other names. */
function linkedPage(link: string): string {
  const [file = '', heading] = link.split('#');
  const english = file.replace(/\.ko\.md$/, '.md');
  const isTranslated = TRANSLATED.some((page) => path.basename(page) === path.basename(english));
  return isTranslated || heading === undefined ? english : `${english}#${heading}`;
}

function linksOf(text: string): { shown: string; file: string }[] {
  return [...text.matchAll(/\[([^\]]+)\]\(([^)#\s]+)[^)]*\)/g)].map(([, shown = '', file = '']) => ({
    shown,
    file,
  }));
}
