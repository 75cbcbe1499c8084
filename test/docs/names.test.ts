import { globSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { PHASES, parseInputs } from '../../src/action/inputs.ts';
import { ERROR_CODES } from '../../src/core/error-codes.ts';
import { errorText, isMigrationError } from '../../src/core/errors.ts';
import { readAction } from '../workflows/workflow-files.ts';
import { handwrittenOf, PAGES, ROOT, readPage, sectionsOf } from './pages.ts';

const ACTION = readAction();
/** Where a name must occur to be one: all that runs, and no documentation. */
const SOURCES = globSync(
  [
    'src/**/*.ts',
    'scripts/**/*.ts',
    '.github/workflows/*.yml',
    'templates/*',
    'examples/*/*.ts',
    'examples/smoke-test/.github/workflows/*.yml',
    '*.{yml,json}',
  ],
  { cwd: ROOT },
)
  .map((file) => readPage(file))
  .join('\n');

const NAME = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;
const ASSIGNMENT = /^([a-z]+(?:-[a-z]+)*): (.+)$/;
/** What looks like an input and is none: keys of workflows, notes of a sync, the form of a commit message. */
const NO_INPUTS = [
  'id-token: write',
  'contents: read',
  'actions: read',
  'permissions: id-token: write',
  'permissions: actions: read',
  'uses: OWNER/valkey-migrate@v1',
  'reconnecting: source-unreachable',
  'area: what is now true',
  'secrets: { SOURCE_PASSWORD: ${{ secrets.REDIS_PASSWORD }} }',
];

test.each(PAGES)('every name in code of %s is one of the sources', (page) => {
  const spans = sectionsOf(handwrittenOf(readPage(page))).flatMap((section) => section.spans);
  expect(spans.filter((span) => NAME.test(span) && !isKnown(span))).toEqual([]);
});

test.each(PAGES)('every `input: value` of %s is one that the action takes', (page) => {
  const spans = sectionsOf(readPage(page)).flatMap((section) => section.spans);
  expect(spans.filter((span) => ASSIGNMENT.test(span)).flatMap(refusals)).toEqual([]);
});

test.each(Object.keys(ERROR_CODES))('the page for the night tells of `%s`', (code) => {
  const spans = sectionsOf(handwrittenOf(readPage('docs/what-if.md'))).flatMap((section) => section.spans);
  expect(spans).toContain(code);
});

test('the page for the night tells of every `migration-status`', () => {
  const words = [...(ACTION.outputs['migration-status']?.description ?? '').matchAll(/`([\w-]+)`/g)];
  const [table = []] = sectionsOf(readPage('docs/what-if.md')).flatMap(({ tables }) => tables);
  expect(words.length).toBeGreaterThan(0);
  expect(table.slice(1).map(([status]) => status)).toEqual(words.map(([word]) => word));
});

test.each(PHASES)('docs/phases.md has a section for %s', (phase) => {
  expect(sectionsOf(readPage('docs/phases.md')).map(({ title }) => title)).toContain(phase);
});

test.each(['README.md', 'README.ko.md'])(
  '%s has a row for every phase, in the order of a migration',
  (page) => {
    const tables = sectionsOf(readPage(page)).flatMap((section) => section.tables);
    const phases = PHASES.map((phase) => `\`${phase}\``);
    expect(tables.map((rows) => rows.slice(1).map(([name]) => name))).toContainEqual(phases);
  },
);

describe('the judge of names', () => {
  test('knows inputs, outputs, codes and settings, and no misspelling of them', () => {
    expect(
      ['tune-source', 'lag-bytes', 'job-dead', 'min-replicas-to-write'].filter((name) => !isKnown(name)),
    ).toEqual([]);
    expect(isKnown('tune-sauce')).toBe(false);
    expect(isKnown('job-dea')).toBe(false);
  });

  test('refuses an input that is not there, and a value that it does not take', () => {
    expect(refusals('repair: differences')).toEqual([]);
    expect(refusals('repairs: differences')).toHaveLength(1);
    expect(refusals('repair: everything')).toHaveLength(1);
    expect(refusals('flush-target: yes')).toHaveLength(1);
  });
});

/** What CONTRIBUTING.md says that there is none of. */
const NOT_WANTED = 'utils';

function isKnown(name: string): boolean {
  if (name === NOT_WANTED) return true;
  if (name in ACTION.inputs || name in ACTION.outputs || name in ERROR_CODES) return true;
  return new RegExp(`(?<![\\w-])${name}(?![\\w-])`).test(SOURCES);
}

/** Why the action would not take this input with this value, by any phase. */
function refusals(span: string): string[] {
  const [, name = '', value = ''] = ASSIGNMENT.exec(span) ?? [];
  if (NO_INPUTS.includes(span)) return [];
  if (!(name in ACTION.inputs)) return [`${span}: there is no such input`];
  const errors = PHASES.flatMap((phase) => {
    const given: Record<string, string> = {
      phase,
      'replication-group-id': 'sessions',
      'aws-region': 'eu-central-1',
      ...(name === 'host' && value === 'local' ? {} : { 'instance-id': 'i-0123456789abcdef0' }),
      [name]: value,
    };
    const read = (input: string) => given[input] ?? String(ACTION.inputs[input]?.default ?? '');
    try {
      parseInputs(read, { region: undefined, temporaryDirectory: undefined });
      return [];
    } catch (error) {
      return [{ text: `${span}: ${errorText(error)}`, isOfPhase: isContradiction(error) }];
    }
  });
  // Some phases contradict what others take.
  const isTaken = errors.length < PHASES.length && errors.every(({ isOfPhase }) => isOfPhase);
  return isTaken ? [] : errors.slice(0, 1).map(({ text }) => text);
}

function isContradiction(error: unknown): boolean {
  return isMigrationError(error) && error.code === 'input-contradictory';
}
