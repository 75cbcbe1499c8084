import type { Route } from '../../contract/finding.ts';
import { ERROR_CODES, type ErrorCode } from '../../core/error-codes.ts';

/** What a rule says of one matter. */
export type Ruling = {
  readonly title: string;
  readonly detail: string;
  readonly remedy: string;
} & (
  | { readonly status: 'pass' | 'warn'; readonly code: string }
  /** Rules routes out; whether that fails depends on the route that was asked for. */
  | { readonly status: 'block'; readonly code: ErrorCode; readonly routes: readonly Route[] }
);

/** What rules all routes out; `auto` takes the first that serves. */
export const EVERY_ROUTE: readonly Route[] = ['native', 'replica', 'scan'];

type Said = { readonly title: string; readonly detail: string };

/** All is well. */
export function pass(code: string, said: Said): Ruling {
  return { ...said, status: 'pass', code, remedy: '' };
}

/** It can go on, but somebody should look. */
export function warn(code: string, said: Said & { remedy: string }): Ruling {
  return { ...said, status: 'warn', code };
}

/** It cannot go on by the given routes; the remedy is that of the code unless one is given. */
export function block(code: ErrorCode, said: Said & { routes?: readonly Route[]; remedy?: string }): Ruling {
  const { title, detail, routes = EVERY_ROUTE, remedy = ERROR_CODES[code].remedy } = said;
  return { status: 'block', code, title, detail, routes, remedy };
}
