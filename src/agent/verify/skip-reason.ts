/** The types that every server has; whatever else TYPE answers is the type of a module. */
const CORE_TYPES: ReadonlySet<string> = new Set(['string', 'list', 'set', 'zset', 'hash', 'stream']);

/** What a key has at both sides, by TYPE; `none` or empty where there is no such key. */
export type TypePair = { readonly source: string; readonly target: string };

/**
 * Why a key is neither equal nor different: it belongs to a module, and the target has nothing in its place. Undefined
 * for all others, also for a key of a module that the target holds in some form.
 */
export function skipReason({ source, target }: TypePair): string | undefined {
  const isAtTarget = target !== 'none' && target !== '';
  const isOfModule = source !== 'none' && source !== '' && !CORE_TYPES.has(source);
  return isOfModule && !isAtTarget ? `module ${source}` : undefined;
}
