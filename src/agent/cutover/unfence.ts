import { MigrationError } from '../../core/errors.ts';
import type { Job } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { liftFence } from './fence.ts';
import { forgetCutover, isHandedOverByUs } from './state.ts';

/**
 * Lets the source take writes again after a cutover that died, or a promotion that ElastiCache refused: the target
 * still follows, so what is written from now on reaches it. The next cutover begins from its start.
 *
 * @throws migration-conflict where the target was handed over already; the codes of {@link liftFence} and of the connection
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
  await using client = await openClient(access);
  const lifted = await liftFence(client, context.directory);
  forgetCutover(context.directory);
  return { kind: 'unfence', lifted };
};
