import { expect, test } from 'vitest';
import { readPage, sectionsOf } from './pages.ts';
import { EVIDENCE } from './situations.ts';

// docs/what-if.md is read when there is no time to try out whether it is true: what it says is shown by a test.

const SITUATIONS = sectionsOf(readPage('docs/what-if.md')).filter(({ depth }) => depth === 3);
const SHOWN = Object.entries(EVIDENCE).flatMap(([title, evidence]) =>
  evidence.map((one) => ({ title, one })),
);

test('there is evidence for every situation, and for none that the page does not have', () => {
  expect(SITUATIONS.length).toBeGreaterThan(40);
  expect(Object.keys(EVIDENCE)).toEqual(SITUATIONS.map(({ title }) => title));
});

test.each(SHOWN)('"$title" is shown by what is there: $one', ({ one }) => {
  const [, file, shows = ''] = /^(\S+\.ts): (.+)$/.exec(one) ?? [];
  if (file === undefined) expect(one).toMatch(/^because \w/);
  else expect(readPage(`test/${file}`)).toContain(shows);
});

test.each(SITUATIONS)(
  'of "$title" it is told what is seen, what became of the data, what to do, and what not',
  ({ title }) => {
    const body = readPage('docs/what-if.md').split(`### ${title}\n`)[1]?.split(/\n##/)[0] ?? '';
    const labels = [...body.matchAll(/^- \*\*([^*]+):\*\*/gm)].map(([, label]) => label);
    expect(labels).toEqual(['You see', 'The data', 'Do', 'Do not']);
  },
);
