import { MigrationError } from '../../core/errors.ts';
import type { Job } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { liftFences } from './fences.ts';
import { forgetCutover, isHandedOverByUs } from './state.ts';

/**
 * Lets the source take writes again after a cutover that died, or a promotion that ElastiCache refused: the target
 * still follows, so what is written from now on reaches it. The next cutover begins from its start.
 *
 * @throws migration-conflict where the target was handed over already; the codes of {@link liftFences}
 */
export const runUnfence: Job<'unfence'> = async (request, context) => {
  if (isHandedOverByUs(context.directory)) {
    throw new MigrationError(
      'migration-conflict',
      'The cutover is proved and handing over: the fence must stay.',
      {
        remedy: 'Run complete-migration again, which goes on from there.',
      },
    );
  }
  await context.siblings.stop('keeper');
  const access = await resolveAccess('source', request.source, context.resolveSecret);
  const lifted = await liftFences(access, context.directory);
  forgetCutover(context.directory);
  return { kind: 'unfence', lifted };
};
