import type { Job } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { liftFence } from './fence.ts';
import { forgetCutover } from './state.ts';

/**
 * Lets the source take writes again after a promotion that ElastiCache refused: the target still replicates, so what
 * is written from now on reaches it. The next cutover begins from its start.
 *
 * @throws the codes of {@link liftFence} and of the connection
 */
export const runUnfence: Job<'unfence'> = async (request, context) => {
  const access = await resolveAccess('source', request.source, context.resolveSecret);
  await using client = await openClient(access);
  const lifted = await liftFence(client, context.directory);
  forgetCutover(context.directory);
  return { kind: 'unfence', lifted };
};
