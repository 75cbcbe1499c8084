import { z } from 'zod';

/** One thing that preflight looked at: pass, warn or fail, and what to do. */
export const findingSchema = z.strictObject({
  /** A word that stays the same from run to run; of a failing finding it is an error code. */
  code: z.string(),
  status: z.enum(['pass', 'warn', 'fail']),
  /** What was looked at, in a few words. */
  title: z.string(),
  /** What was found, with the values. */
  detail: z.string(),
  /** What to do; empty where there is nothing to do. */
  remedy: z.string(),
});
/** See {@link findingSchema}. */
export type Finding = z.infer<typeof findingSchema>;

/** How the data gets to the target. */
export const routeSchema = z.enum(['native', 'replica', 'scan']);
/** See {@link routeSchema}. */
export type Route = z.infer<typeof routeSchema>;

/** Whether a route serves this pair of servers, and why or why not. */
export const routeVerdictSchema = z.strictObject({
  route: routeSchema,
  usable: z.boolean(),
  reasons: z.array(z.string()),
});
/** See {@link routeVerdictSchema}. */
export type RouteVerdict = z.infer<typeof routeVerdictSchema>;
