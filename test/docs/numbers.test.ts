import { describe, expect, test } from 'vitest';
import { readAction } from '../workflows/workflow-files.ts';
import { constantOf, numberFacts } from './number-facts.ts';
import { PAGES, proseOf, readPage } from './pages.ts';

const FACTS = numberFacts();

/** A translation has the numbers of its original, and errors.md is generated as a whole. */
const NUMBERED_PAGES = PAGES.filter(
  (page) => !page.endsWith('.ko.md') && page !== 'docs/errors.md' && page !== 'CHANGELOG.md',
);

const TEXTS = [
  ...NUMBERED_PAGES.map((page) => [page, readPage(page)] as const),
  // What the generated tables of the README are made from.
  ['action.yml', describedInputs()] as const,
];

test.each(TEXTS)('every number of %s is one that is compared with its source', (_, text) => {
  expect(unknownNumbers(text)).toEqual([]);
});

test.each(FACTS)('$text stands on a page, and is so', (fact) => {
  expect(TEXTS.filter(([, text]) => proseOf(text).includes(fact.text))).not.toEqual([]);
  if ('value' in fact) expect(valuesOf(fact.text)).toContain(fact.value);
  else expect(fact.because).not.toBe('');
});

describe('the reader of numbers', () => {
  test('finds those that nobody has vouched for, in digits and in words', () => {
    const text = 'It waits 17 seconds, tries nine times, and runs on Redis 7.4 and `port 5`.\n\n1. First\n';
    expect(unknownNumbers(text)).toEqual([
      expect.stringContaining('17'),
      expect.stringContaining('nine times'),
    ]);
  });

  test.each([
    ['more than 256 MiB of names', 256 * 1024 * 1024],
    ['two minutes of writes', 120_000],
    ['(2^51 ms)', 2 ** 51],
    ['up to 1,000 of them', 1000],
    ['8 MB', 8 * 1024 * 1024],
    ['8 MB', 8_000_000],
  ])('takes %s for %d', (text, value) => {
    expect(valuesOf(text)).toContain(value);
  });

  test('reads products, powers and underscores of the sources, and nothing that is not there', () => {
    expect(constantOf('src/agent/cutover/fence.ts', 'LASTING_PAUSE_MS')).toBe(24 * 3_600_000);
    expect(() => constantOf('src/agent/cutover/fence.ts', 'NOWHERE')).toThrow('NOWHERE');
  });
});

const WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];
const UNITS: Readonly<Record<string, readonly number[]>> = {
  ms: [1],
  second: [1000],
  minute: [60_000],
  hour: [3_600_000],
  // By the thousand or by 1024: servers mean the one, disks the other.
  MB: [1000 ** 2, 1024 ** 2],
  GB: [1000 ** 3, 1024 ** 3],
  MiB: [1024 ** 2],
  GiB: [1024 ** 3],
};

function describedInputs(): string {
  const { inputs, outputs } = readAction();
  return [...Object.values(inputs), ...Object.values(outputs)]
    .map(({ description }) => description)
    .join('\n\n');
}

/** What the first number of the text may mean. */
function valuesOf(text: string): number[] {
  const found = new RegExp(
    `(?:(\\d+)\\^)?(\\d[\\d,]*|\\b(?:${WORDS.join('|')})\\b)(?: ?([a-z]+))?`,
    'i',
  ).exec(text);
  const [, base, digits = '', word = ''] = found ?? [];
  const inWords = WORDS.indexOf(digits.toLowerCase());
  const plain = inWords >= 0 ? inWords : Number(digits.replaceAll(',', ''));
  const number = base === undefined ? plain : Number(base) ** plain;
  return (UNITS[word.replace(/s$/, '') || word] ?? UNITS[word] ?? [1]).map((unit) => number * unit);
}

/** Numbers with what stands around them that no fact covers. */
function unknownNumbers(text: string): string[] {
  const prose = proseOf(text.replaceAll(/^\s*(?:#+ )?\d+\. /gm, ''));
  const unchecked = FACTS.reduce((left, fact) => left.replaceAll(fact.text, ''), prose)
    .replaceAll(/`[^`]+`|\]\([^)]+\)/g, '')
    .replaceAll(VERSIONS, '');
  return [...unchecked.matchAll(NUMBERS)].map(({ index, 0: number }) =>
    unchecked.slice(Math.max(0, index - 30), index + number.length + 30),
  );
}

/** `Redis 7.4 or later`, `Redis 7.4 and 8`, `4.2.0`: what is compared with the servers at hand elsewhere. */
const VERSIONS =
  /\b(?:Redis|Valkey|Node\.js|RedisShake|RIOT|Apache|Amazon Linux)(?: (?:below|before|up to))? \d[\d.]*(?: (?:and|to) \d[\d.]*)?|(?<!\w)v?\d+(?:\.\d+)+/g;
const NUMBERS = new RegExp(
  `(?<![\\w-])\\d[\\d,.^]*|\\b(?:${WORDS.slice(2).join('|')}) (?:ms|milliseconds?|seconds?|minutes?|hours?|days?|times|full copies|round trips|rounds)\\b`,
  'gi',
);
