import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { ERROR_CODES } from '../src/core/error-codes.ts';
import { promisesTable } from './bench-promises.ts';
import { permissionSections, permissionsByPhase } from './identity/permissions-page.ts';
import { hostTemplate, identityTemplate } from './identity/templates.ts';
import { kindsTable, quotedSummary } from './sample-summaries.ts';
import { SITUATIONS_PAGE, situationsByCode, situationsTable } from './situations.ts';
import { ROOT } from './tool.ts';
import { ENGLISH, KOREAN, type Words } from './words.ts';

// npm run docs: writes what the documentation takes from the sources. The tests in test/docs say when it is stale.

const actionSchema = z.object({
  inputs: z.record(
    z.string(),
    z.object({ description: z.string(), required: z.boolean().optional(), default: z.string().optional() }),
  ),
  outputs: z.record(z.string(), z.object({ description: z.string() })),
});

if (import.meta.main) {
  for (const { file, render } of generatedFiles()) writeFileSync(path.join(ROOT, file), render());
}

/** Every file that is generated, whole or in part, and what it must hold. */
export function generatedFiles(): readonly { readonly file: string; readonly render: () => string }[] {
  return [
    { file: 'docs/errors.md', render: errorsPage },
    { file: 'README.md', render: () => readme('README.md', ENGLISH) },
    { file: 'README.ko.md', render: () => readme('README.ko.md', KOREAN) },
    { file: 'docs/permissions.md', render: permissionsPage },
    { file: 'docs/understanding-the-report.md', render: understandingPage },
    { file: 'docs/comparison.md', render: comparisonPage },
    {
      file: SITUATIONS_PAGE,
      render: () => withSections(SITUATIONS_PAGE, { 'by-code': situationsTable(table) }),
    },
    { file: 'templates/identity.yaml', render: identityTemplate },
    { file: 'templates/host.yaml', render: hostTemplate },
  ];
}

function errorsPage(): string {
  const situations = situationsByCode();
  const entries = Object.entries(ERROR_CODES).map(([code, { when, remedy, retryable }]) => {
    const links = (situations.get(code) ?? []).map(
      ({ title, anchor }) => `[${title}](${path.basename(SITUATIONS_PAGE)}#${anchor})`,
    );
    const parts = [
      `## ${code}`,
      when,
      remedy,
      ...(retryable ? ['The same call may succeed later without any change.'] : []),
      ...(links.length === 0 ? [] : [`What if: ${links.join(' · ')}.`]),
    ];
    return `${parts.join('\n\n')}\n`;
  });
  const head = `<!-- Generated from src/core/error-codes.ts and docs/what-if.md by \`npm run docs\`. -->

# Errors

A phase that fails sets the output \`error-code\` to one of these codes, and its summary says what happened and what to
do. Where the error knows more than this page, its own remedy is the better one. Failing findings of \`preflight\` have
the same codes.
`;
  return [head, ...entries].join('\n');
}

/** The README, and its translation with the same tables in other words. */
function readme(file: string, { descriptionOf, cell }: Words): string {
  const action = readAction();
  const worded = (head: readonly string[], rows: readonly (readonly string[])[]) =>
    table(
      head.map(cell),
      rows.map((row) => row.map(cell)),
    );
  const inputs = Object.entries(action.inputs).map(([name, input]) => [
    `\`${name}\``,
    descriptionOf('inputs', name, input.description),
    input.required === true ? '**required**' : input.default === undefined ? '' : `\`${input.default}\``,
  ]);
  const outputs = Object.entries(action.outputs).map(([name, { description }]) => [
    `\`${name}\``,
    descriptionOf('outputs', name, description),
  ]);
  return withSections(file, {
    permissions: permissionsByPhase(worded),
    inputs: worded(['input', 'what it says', 'default'], inputs),
    outputs: worded(['output', 'what it says'], outputs),
  });
}

/** Inputs and outputs as action.yml describes them. */
function readAction(): z.infer<typeof actionSchema> {
  return actionSchema.parse(parse(readFileSync(path.join(ROOT, 'action.yml'), 'utf8')));
}

function permissionsPage(): string {
  return withSections('docs/permissions.md', permissionSections(table));
}

function understandingPage(): string {
  const names = ['verify-passed', 'verify-failed', 'complete-migration-passed'];
  const samples = names.map((name) => [`sample-${name}`, quotedSummary(name)] as const);
  return withSections('docs/understanding-the-report.md', {
    ...Object.fromEntries(samples),
    kinds: kindsTable(table),
  });
}

function comparisonPage(): string {
  return withSections('docs/comparison.md', { promises: promisesTable(table) });
}

/** The page with its generated sections as they must be. */
function withSections(file: string, sections: Readonly<Record<string, string>>): string {
  return Object.entries(sections).reduce(
    (text, [name, content]) => between(text, { file, name, content }),
    readFileSync(path.join(ROOT, file), 'utf8'),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Replaces what stands between the two markers of the name; both must be there, once. */
function between(
  text: string,
  { file, name, content }: { file: string; name: string; content: string },
): string {
  const [start, end] = [`<!-- ${name}:start -->`, `<!-- ${name}:end -->`];
  const parts = text.split(start);
  const [before, after] = [parts[0], parts[1]?.split(end)[1]];
  if (parts.length !== 2 || before === undefined || after === undefined)
    throw new Error(`${file} must have ${start} and ${end} once each`);
  return `${before}${start}\n\n${content}\n\n${end}${after}`;
}
