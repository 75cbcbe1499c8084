/** A broken promise of this code to itself: a bug of ours, never a mistake of the user. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Fails loudly when something that cannot happen did. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Ends a `switch` over a union: does not compile while a member is unhandled. */
export function assertNever(value: never): never {
  throw new AssertionError(`unhandled value ${JSON.stringify(value)}`);
}
