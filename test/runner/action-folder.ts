import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NoOperationTraceWriter } from '@actions/workflow-parser';
import { parseAction } from '@actions/workflow-parser/actions/action-parser';
import { z } from 'zod';
import { entriesOf, evaluateToken, plainValue, type Scope, type Token, textOf } from './expressions.ts';

/** A JavaScript action in a folder, as its action.yml says. */
export type ActionFolder = {
  readonly folder: string;
  readonly main: string;
  readonly post: string | undefined;
  readonly postIf: string;
  readonly defaults: Readonly<Record<string, Token | undefined>>;
};

const runsSchema = z.object({
  // The runner runs actions for node20 on Node 24.
  using: z.enum(['node20', 'node24']),
  main: z.string(),
  post: z.string().optional(),
  'post-if': z.string().default('always()'),
});

/** @throws Error for an action.yml that GitHub would refuse, and for an action that is not written in JavaScript */
export async function readActionFolder(folder: string): Promise<ActionFolder> {
  const content = await readFile(join(folder, 'action.yml'), 'utf8');
  const { context, value } = parseAction({ name: 'action.yml', content }, new NoOperationTraceWriter());
  const [error] = context.errors.getErrors();
  if (error !== undefined || value === undefined) throw new Error(`${folder}/action.yml: ${error?.message}`);
  const top = entriesOf(value);
  const runs = runsSchema.parse(plainValue(top.runs));
  const inputs = Object.entries(entriesOf(top.inputs));
  return {
    folder,
    main: runs.main,
    post: runs.post,
    postIf: runs['post-if'],
    defaults: Object.fromEntries(inputs.map(([name, input]) => [name, entriesOf(input).default])),
  };
}

/**
 * The inputs as the action finds them in its environment.
 *
 * @throws Error for one that it does not have
 */
export function inputVariables(
  { folder, defaults }: ActionFolder,
  given: Readonly<Record<string, string>>,
  scope: Scope,
): Record<string, string> {
  const unknown = Object.keys(given).filter((name) => !(name in defaults));
  if (unknown.length > 0) throw new Error(`${folder}/action.yml has no input ${unknown.join(', ')}`);
  return Object.fromEntries(
    Object.entries(defaults).map(([name, fallback]) => [
      `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`,
      given[name] ?? textOf(evaluateToken(fallback, scope)),
    ]),
  );
}
