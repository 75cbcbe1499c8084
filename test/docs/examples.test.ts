import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { errorText } from '../../src/core/errors.ts';
import { readAction, readWorkflow } from '../workflows/workflow-files.ts';
import { PAGES, readPage, sectionsOf } from './pages.ts';

type Declared = Readonly<
  Record<string, { readonly description: string; readonly required?: boolean | undefined }>
>;

const ACTION: Declared = readAction().inputs;
const WORKFLOW: Declared = readWorkflow('.github/workflows/migrate.yml').on.workflow_call?.inputs ?? {};
const NEEDED_BY_ACTION = ['phase', 'replication-group-id'];

const stepSchema = z.looseObject({
  uses: z.string().optional(),
  with: z.record(z.string(), z.unknown()).nullish(),
  steps: z.array(z.unknown()).optional(),
});

test.each(PAGES)('every example in %s is one that can be read, and names inputs that are there', (page) => {
  const blocks = sectionsOf(readPage(page)).flatMap(({ codeBlocks }) => codeBlocks);
  expect(blocks.flatMap(({ language, text }) => faults(language, text))).toEqual([]);
});

test('every block of code says what it is', () => {
  const blocks = PAGES.flatMap((page) => sectionsOf(readPage(page)).map((section) => ({ page, section })));
  const nameless = blocks.filter(
    ({ section }) =>
      section.codeBlocks.some(({ language }) => language === '') && section.title !== 'The picture',
  );
  // What the user of the source is allowed is a rule of ACLs, which has no name as a language.
  expect(nameless.map(({ page, section }) => `${page}: ${section.title}`)).toEqual([
    'docs/setup.md: 3. The users',
  ]);
});

describe('the judge of examples', () => {
  const REQUIRED = neededBy(WORKFLOW).length;
  const job = (uses: string, input: string) =>
    `jobs:\n  a:\n    uses: ${uses}\n    with:\n      ${input}: x\n`;
  test.each([
    ['yaml', 'a: [', 1],
    ['json', '{"a": }', 1],
    ['yaml', job('OWNER/valkey-migrate/.github/workflows/migrate.yml@v1', 'route'), REQUIRED],
    ['yaml', job('OWNER/valkey-migrate/.github/workflows/migrate.yml@v1', 'root'), REQUIRED + 1],
    ['yaml', 'with:\n  role-to-assume: # RoleToAssume\n', 0],
    ['yaml', 'with:\n  rule-to-assume: # RoleToAssume\n', 1],
    [
      'yaml',
      'steps:\n  - uses: OWNER/valkey-migrate@v1\n    with:\n      phase: status\n      replication-group-id: a\n',
      0,
    ],
    ['yaml', 'steps:\n  - uses: OWNER/valkey-migrate@v1\n    with:\n      phase: status\n', 1],
    ['yaml', 'steps:\n  - uses: actions/checkout@v7\n    with:\n      path: x\n', 0],
  ])('reads %s such as %j', (language, text, count) => {
    expect(faults(language, text)).toHaveLength(count);
  });
});

function faults(language: string, text: string): string[] {
  try {
    if (language === 'json') JSON.parse(text);
    return language === 'yaml' ? faultsOf(parse(text)) : [];
  } catch (error) {
    return [errorText(error)];
  }
}

/** Looks at every mapping for what it calls and what it gives it. */
function faultsOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const step = stepSchema.safeParse(value).data;
  const given = Object.keys(step?.with ?? {});
  return [...callFaults(step?.uses, given, step?.with != null), ...Object.values(value).flatMap(faultsOf)];
}

function callFaults(uses: string | undefined, given: readonly string[], hasWith: boolean): string[] {
  const declared = uses === undefined ? WORKFLOW : declaredBy(uses);
  if (declared === undefined || !hasWith) return [];
  const unknown = given.filter((input) => !(input in declared)).map((input) => `there is no ${input}`);
  const missing = uses === undefined ? [] : neededBy(declared).filter((input) => !given.includes(input));
  return [...unknown, ...missing.map((input) => `${uses} needs ${input}`)];
}

/** Undefined for what is not ours. */
function declaredBy(uses: string): Declared | undefined {
  if (uses.includes('valkey-migrate/.github/workflows/migrate.yml@')) return WORKFLOW;
  return uses.startsWith('OWNER/valkey-migrate@') ? ACTION : undefined;
}

function neededBy(declared: Declared): readonly string[] {
  if (declared === ACTION) return NEEDED_BY_ACTION;
  return Object.entries(declared).flatMap(([name, { required }]) => (required === true ? [name] : []));
}
