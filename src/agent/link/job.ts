import type { LinkReport } from '../../contract/reports.ts';
import { MigrationError } from '../../core/errors.ts';
import { formatBytes, formatDuration } from '../../core/units.ts';
import type { Job, JobContext } from '../job/context.ts';
import { NO_PROGRESS } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { readServerInfo } from '../redis/server-info.ts';

const POLL_MS = 250;
/** A replica reports its offset once a second: below this lag it follows, it does not catch up any more. */
const LIVE_LAG_BYTES_MAX = 1_000_000;

/**
 * Native route: waits until the target replicates from the source and has caught up, by what INFO says on both sides.
 *
 * @throws link-down when `waitMs` is over, and the codes of the two connections
 */
export const runLink: Job<'link'> = async (request, context) => {
  await using source = await openClient(await resolveAccess('source', request.source, context.resolveSecret));
  await using target = await openClient(await resolveAccess('target', request.target, context.resolveSecret));
  const deadlineMs = context.clock.nowMs() + request.waitMs;
  for (;;) {
    context.signal.throwIfAborted();
    const link = await readLink(source, target, context);
    if (link.live || request.waitMs === 0) return link;
    if (context.clock.nowMs() >= deadlineMs) {
      throw new MigrationError(
        'link-down',
        `After ${formatDuration(request.waitMs)} the target is ${link.role} with its link ${link.linkStatus || 'absent'}, ${formatBytes(link.lagBytes)} behind the source.`,
      );
    }
    await context.clock.sleep(POLL_MS, context.signal);
  }
};

async function readLink(source: Client, target: Client, context: JobContext): Promise<LinkReport> {
  // The target first: the source can only be further on by then, so the lag is never understated.
  const { fields } = await readServerInfo(target);
  const sourceFields = (await readServerInfo(source)).fields;
  const role = fields.get('role') ?? 'unknown';
  const linkStatus = fields.get('master_link_status') ?? '';
  const sourceOffset = Number(sourceFields.get('master_repl_offset') ?? 0);
  const targetOffset = Number(fields.get('slave_repl_offset') ?? 0);
  const lagBytes = Math.max(0, sourceOffset - targetOffset);
  const live = role === 'slave' && linkStatus === 'up' && lagBytes <= LIVE_LAG_BYTES_MAX;
  const totalBytes = Number(fields.get('master_sync_total_bytes') ?? 0);
  const readBytes = Number(fields.get('master_sync_read_bytes') ?? 0);
  context.report({
    ...NO_PROGRESS,
    stage: live ? 'live' : linkStatus === 'up' ? 'catching-up' : 'copying',
    bytes: readBytes,
    ...(totalBytes > 0 ? { percent: Math.min(100, (100 * readBytes) / totalBytes) } : {}),
    lagBytes,
  });
  return { kind: 'link', role, linkStatus, sourceOffset, targetOffset, lagBytes, live };
}
