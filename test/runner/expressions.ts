import { data, Evaluator, Lexer, Parser } from '@actions/expressions';
import {
  isBasicExpression,
  isBoolean,
  isMapping,
  isNumber,
  isSequence,
  isString,
} from '@actions/workflow-parser';

/** What expressions can name: `github`, `inputs`, `needs`, … */
export type Contexts = Readonly<Record<string, unknown>>;

/** What `success()`, `failure()`, `always()` and `cancelled()` go by. */
export type Status = 'success' | 'failure' | 'cancelled' | 'skipped';

/** Part of a parsed workflow. */
export type Token = Parameters<typeof isString>[0];

/** Where an expression stands. */
export type Scope = { readonly contexts: Contexts; readonly status: Status };

/** The value of an expression, worked out by GitHub's own library. */
export function evaluateExpression(expression: string, { contexts, status }: Scope): unknown {
  const functions = statusFunctions(status);
  const names = Object.keys(contexts);
  const tree = new Parser(new Lexer(expression).lex().tokens, names, [...functions.values()]).parse();
  const dictionary = JSON.parse(JSON.stringify(contexts), data.reviver);
  const value = new Evaluator(tree, dictionary, functions).evaluate();
  return JSON.parse(JSON.stringify(value, data.replacer));
}

/** Whether an `if` holds. */
export function holds(condition: string, scope: Scope): boolean {
  return evaluateExpression(`!!(${condition})`, scope) === true;
}

/** A part of the workflow with its expressions worked out. */
export function evaluateToken(token: Token | undefined, scope: Scope): unknown {
  if (token === undefined) return undefined;
  if (isBasicExpression(token)) return evaluateExpression(token.expression, scope);
  if (isString(token) || isNumber(token) || isBoolean(token)) return token.value;
  if (isSequence(token)) return [...token].map((item) => evaluateToken(item, scope));
  if (isMapping(token))
    return Object.fromEntries(
      [...token].map(({ key, value }) => [key.toString(), evaluateToken(value, scope)]),
    );
  return null;
}

/** A mapping of scalars as the runner hands it on: every value as text, nothing as the empty one. */
export function evaluateTexts(token: Token | undefined, scope: Scope): Record<string, string> {
  const values = Object.entries(Object(evaluateToken(token, scope) ?? {}));
  return Object.fromEntries(values.map(([name, value]) => [name, textOf(value)]));
}

/** The parts of a mapping by their names; of anything else, none. */
export function entriesOf(token: Token | undefined): Readonly<Record<string, Token>> {
  if (token === undefined || !isMapping(token)) return {};
  return Object.fromEntries([...token].map(({ key, value }) => [key.toString(), value]));
}

/** The value of a part that has no expressions. */
export function plainValue(token: Token | undefined): unknown {
  return evaluateToken(token, { contexts: {}, status: 'success' });
}

/** A value as text. */
export function textOf(value: unknown): string {
  return value === null || value === undefined ? '' : String(value);
}

type Functions = NonNullable<ConstructorParameters<typeof Evaluator>[2]>;

function statusFunctions(status: Status): Functions {
  const answers = {
    success: status === 'success',
    failure: status === 'failure',
    cancelled: status === 'cancelled',
    always: true,
  };
  return new Map(
    Object.entries(answers).map(([name, answer]) => [
      name,
      { name, minArgs: 0, maxArgs: 0, call: () => new data.BooleanData(answer) },
    ]),
  );
}
