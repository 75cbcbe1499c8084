import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseInvocation } from '../../src/agent/command-line.ts';
import { errorText } from '../../src/core/errors.ts';
import { parseOptions } from '../bench/options.ts';
import { readWorkflow } from '../workflows/workflow-files.ts';
import { PAGES, ROOT, readPage, sectionsOf } from './pages.ts';

const PROOFS = [...readPage('scripts/prove.ts').matchAll(/case '([\w-]+)':/g)].map(([, name]) => name);

test.each(PAGES)('every command of %s is there, and takes what it is given', (page) => {
  expect(commandsOf(readPage(page)).flatMap((command) => refusal(command, page))).toEqual([]);
});

describe('the judge of commands', () => {
  test.each([
    'npm run demos',
    'npm run bench -- --speed',
    'npm run prove -- nothing',
    'node dist/agent/nowhere.js help',
    'node dist/agent/index.js verify --source 10.0.0.1:6379',
    'node dist/agent/index.js verify --sauce 10.0.0.1:6379 --target 10.0.0.2:6379',
    'aws cloudformation deploy --template-file templates/nowhere.yaml --parameter-overrides A=b',
    'aws cloudformation deploy --template-file templates/host.yaml --parameter-overrides HostRule=b',
    'gh workflow run nowhere.yml',
  ])('refuses `%s`', (command) => {
    expect(refusal(command, 'README.md')).toHaveLength(1);
  });

  test('reads a command over several lines, behind variables, and before a pipe, as one', () => {
    const block = '```sh\nA=b FILE=/x npm run bench -- \\\n  --strict # why\nnpm test | cat\n```\n';
    expect(commandsOf(block)).toEqual(['npm run bench -- --strict', 'npm test']);
  });
});

/** Every command in a block for the shell, and every span that is one, each on one line. */
function commandsOf(text: string): string[] {
  const sections = sectionsOf(text);
  const blocks = sections
    .flatMap(({ codeBlocks }) => codeBlocks)
    .filter(({ language }) => language === 'sh')
    .flatMap(({ text: block }) => block.replaceAll(/\\\n\s*/g, '').split('\n'));
  const spans = sections.flatMap((section) => section.spans);
  return [...blocks, ...spans]
    .flatMap((line) => line.replace(/(?:^|\s)#.*$/, '').split(' | '))
    .map((command) => command.trim().replace(/^(?:[A-Z_]+=\S+ )+/, ''))
    .filter((command) => /^(?:npm|node|aws cloudformation deploy|gh workflow run) /.test(command));
}

/** Why a command would not run, in a list of one; nothing where it would. */
function refusal(command: string, page: string): string[] {
  try {
    const [program, ...args] = command.split(/\s+/);
    if (program === 'npm') judgeNpm(args, page);
    if (program === 'node') judgeNode(args);
    if (program === 'aws') judgeDeploy(args);
    if (program === 'gh') readWorkflow(`.github/workflows/${args[2]}`);
    return [];
  } catch (error) {
    return [`${command}: ${errorText(error)}`];
  }
}

function judgeNpm([verb = '', ...args]: readonly string[], page: string): void {
  if (verb === 'ci' || verb === 'install') return;
  const script = verb === 'run' ? args.find((arg) => !arg.startsWith('--')) : verb;
  const folder = page.startsWith('examples/') ? path.dirname(page) : '.';
  const { scripts } = z
    .looseObject({ scripts: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readPage(path.join(folder, 'package.json'))));
  if (script === undefined || !(script in scripts)) throw new Error('there is no such script');
  const passed = args.includes('--') ? args.slice(args.indexOf('--') + 1) : [];
  if (script === 'bench' && folder === '.') parseOptions(passed, {});
  if (script === 'prove' && !PROOFS.includes(passed[0])) throw new Error('there is no such proof');
}

/** The agent's own reader of arguments decides about them. */
function judgeNode([file = '', ...args]: readonly string[]): void {
  // On a host it has another name, see scripts of src/action/host.
  const bundle = file.replace('<state-directory>/agent/<sha256>/index.mjs', 'dist/agent/index.js');
  if (!existsSync(path.join(ROOT, bundle))) throw new Error(`there is no ${bundle}`);
  if (bundle === 'dist/agent/index.js') parseInvocation(args, 'eu-central-1');
}

function judgeDeploy(args: readonly string[]): void {
  const template = args[args.indexOf('--template-file') + 1] ?? '';
  const { Parameters: parameters } = z
    .looseObject({ Parameters: z.record(z.string(), z.unknown()) })
    .parse(parse(readPage(template)));
  for (const override of args.slice(args.indexOf('--parameter-overrides') + 1)) {
    const [name = ''] = override.split('=');
    if (/^[A-Z]\w+$/.test(name) && !(name in parameters)) throw new Error(`${template} has no ${name}`);
  }
}
