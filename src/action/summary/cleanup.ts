import { formatCount } from '../../core/units.ts';
import type { PhaseBody } from './document.ts';
import { code, list, type Span, span } from './markdown.ts';
import type { CleanupView } from './views.ts';

const REMOVED_MAX = 50;

/** What is gone from the host. */
export function cleanupBody(view: CleanupView): PhaseBody {
  const removed = view.removed ?? [];
  return {
    verdict: verdict(view, removed.length),
    sections: [
      {
        weight: 'main',
        blocks:
          removed.length === 0
            ? []
            : [list({ items: removed, show: code, maxItems: REMOVED_MAX, style: 'bullets' })],
      },
    ],
  };
}

function verdict({ result }: CleanupView, count: number): Span | undefined {
  const things = `${formatCount(count)} ${count === 1 ? 'thing' : 'things'}`;
  if (result === 'failed') return count === 0 ? undefined : span`**Not clean yet.** ${things} removed.`;
  if (count === 0) return span`**Clean.** The host held nothing of this migration.`;
  return span`**Clean.** ${things} removed from the host.`;
}
