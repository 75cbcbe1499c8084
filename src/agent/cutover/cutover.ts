import type { JobRequestOf } from '../../contract/jobs.ts';
import { type JobContext, NO_PROGRESS } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { writeCutoverStep } from './state.ts';

/** One cutover under way, and the two sides. */
export type Cutover = {
  readonly request: JobRequestOf<'cutover'>;
  readonly context: JobContext;
  readonly source: Access;
  readonly target: Access;
};

/** Keeps and tells where the cutover is. */
export function enter({ request, context }: Cutover, step: 'fencing' | 'draining' | 'proving'): void {
  writeCutoverStep(context.directory, request, { step });
  context.report({ ...NO_PROGRESS, stage: step });
}
