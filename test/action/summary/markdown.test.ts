import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainLine } from '../../../src/action/summary/foreign-text.ts';
import {
  alert,
  type Block,
  code,
  details,
  facts,
  heading,
  joinBlocks,
  joined,
  leftColumns,
  list,
  paragraph,
  prose,
  span,
  strong,
  table,
} from '../../../src/action/summary/markdown.ts';
import { HOSTILE_TEXTS } from './hostile-texts.ts';
import { structureOf, visibleText } from './markup-structure.ts';

describe('foreign text in a summary', () => {
  it.each(HOSTILE_TEXTS.filter(hasWords).map((text) => [JSON.stringify(text).slice(0, 60), text]))(
    'changes no structure, whatever place it takes: %s',
    (_, text) => {
      expect(structureOf(everyPlace(text))).toEqual(structureOf(everyPlace('harmless')));
    },
  );

  it('changes no structure in any combination of what is special', () => {
    const piece = fc.constantFrom(...SPECIAL, 'a', '1', ' ');
    const text = fc.array(piece, { maxLength: 14 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(text.filter(hasWords), (hostile) => {
        expect(structureOf(everyPlace(hostile))).toEqual(structureOf(everyPlace('harmless')));
      }),
      { numRuns: 400, seed: 20_260_314 },
    );
  });

  it.each(HOSTILE_TEXTS.map((text) => [JSON.stringify(text).slice(0, 60), text]))(
    'is shown with all its words: %s',
    (_, text) => {
      const words = plainLine(text, 1000).trim();
      expect(visibleText(joinBlocks([paragraph(text)])).replaceAll('\u200b', '')).toBe(words);
    },
  );

  it('mentions nobody, starts no workflow command and holds nothing invisible', () => {
    for (const text of HOSTILE_TEXTS) {
      const markdown = joinBlocks([paragraph(text), paragraph(prose(text)), paragraph(code(text))]);
      expect(markdown).not.toMatch(/^\s*::/mu);
      expect(markdown).not.toContain('##[');
      expect(markdown.replaceAll('\u200b', '').replaceAll('\n', '')).not.toMatch(
        /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u,
      );
      expect(visibleText(joinBlocks([paragraph(text)]))).not.toMatch(
        /@\w|:\/\/|www\.|#\d|GH-\d|:[a-z+][\w+]*:/iu,
      );
    }
  });

  it('shows control characters of a name instead of obeying them', () => {
    expect(visibleText(joinBlocks([paragraph(code('a\nb\t\u001b[31m\u202e\u0000'))]))).toBe(
      'a\\nb\\t\\x1b[31m\\u{202e}\\x00',
    );
  });

  it('shows a name exactly, with its backticks and pipes', () => {
    for (const name of ['a`b', '``', '`a', 'a`', 'a|b', 'a\\|b', '*a*', '<b>', '@x', '$a$', 'a\\']) {
      const markdown = joinBlocks([
        table({ columns: leftColumns('Key'), items: [name], cells: (each) => [code(each)], maxRows: 1 }),
      ]);
      expect(visibleText(markdown).replace(/^Key\s*/u, '')).toBe(name);
    }
  });

  it('without any words makes no heading of the line above it', () => {
    for (const text of ['', ' ', '\u001b[2J\u001b[H']) {
      const items = list({ items: [text], show: (each) => each, maxItems: 1, style: 'bullets' });
      expect(structureOf(joinBlocks([alert('CAUTION', [items])])).join('\n')).not.toMatch(/heading/u);
      expect(visibleText(joinBlocks([items]))).toBe('(empty)');
    }
  });

  it('is cut to a bound that no expansion exceeds by much', () => {
    for (const text of HOSTILE_TEXTS) {
      expect(Buffer.byteLength(joinBlocks([paragraph(text)]))).toBeLessThan(8000);
      expect(Buffer.byteLength(joinBlocks([paragraph(prose(text))]))).toBeLessThan(8000);
      expect(Buffer.byteLength(joinBlocks([paragraph(code(text))]))).toBeLessThan(2500);
    }
  });

  it('keeps the inputs that a message names between backticks in fixed width', () => {
    expect(joinBlocks([paragraph(prose('Set `bind` to *one* address.'))])).toBe(
      'Set `bind` to \\*one\\* address.',
    );
  });
});

describe('a list and a table', () => {
  it('end at their maximum and count what they leave out', () => {
    const items = Array.from({ length: 1500 }, (_, index) => `item ${index}`);
    const listed = joinBlocks([list({ items, show: (item) => item, maxItems: 10, style: 'bullets' })]);
    expect(listed.split('\n')).toHaveLength(11);
    expect(listed).toContain('… and 1,490 more');
    const tabled = joinBlocks([
      table({
        columns: leftColumns('Item'),
        items,
        cells: (item) => [item],
        maxRows: 10,
        totalItems: 1_000_000,
      }),
    ]);
    expect(tabled.split('\n')).toHaveLength(14);
    expect(tabled).toContain('… and 999,990 more');
  });
});

const SPECIAL = [
  ...[
    '`',
    '``',
    '|',
    '\\',
    '\n',
    '\r\n',
    '*',
    '_',
    '~~',
    '[',
    ']',
    '](',
    ')',
    '!',
    '<',
    '>',
    '</details>',
    '<b>',
  ],
  ...[
    '#',
    '-',
    '+',
    '=',
    '.',
    ':',
    '::',
    '@',
    '$',
    '&',
    '&lt;',
    ';',
    '"',
    'https://a.example',
    'www.',
    '<!--',
  ],
];

/** A text without words leaves its places empty, which is a structure of its own. */
function hasWords(text: string): boolean {
  return plainLine(text, 1000).trim() !== '';
}

/** Every block with the text in every place that takes one. */
function everyPlace(text: string): string {
  const phrases = [
    text,
    prose(text),
    code(text),
    span`${strong(text)} and ${text}`,
    joined([text, text], ' · '),
  ];
  const blocks: Block[] = [
    heading(2, text),
    ...phrases.map(paragraph),
    list({ items: phrases, show: (phrase) => span`- ${phrase}`, maxItems: 10, style: 'bullets' }),
    list({ items: phrases, show: (phrase) => span`x ${phrase}`, maxItems: 10, style: 'numbers' }),
    table({
      columns: leftColumns('A', 'B', 'C'),
      items: phrases,
      cells: (phrase) => [phrase, phrase, phrase],
      maxRows: 10,
    }),
    facts({ title: text, rows: phrases.map((phrase) => [text, phrase]) }),
  ];
  return joinBlocks([...blocks, details(text, blocks), alert('NOTE', blocks), paragraph('end')]);
}
