import { type Contestant, NEVER } from './contestant.ts';

/** Nobody: what the source does when it is left alone. */
export const none: Contestant = {
  name: 'none',
  attach: async () => ({
    toolPid: undefined,
    failed: NEVER,
    copied: () => Promise.reject(new Error('nobody copies')),
    appliedOffset: undefined,
    detach: async () => {},
    [Symbol.asyncDispose]: async () => {},
  }),
};
