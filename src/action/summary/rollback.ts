import { formatCount } from '../../core/units.ts';
import type { PhaseBody } from './document.ts';
import { leftColumns, prose, type Span, span, table } from './markdown.ts';
import { eventSection } from './sync-progress.ts';
import type { RollbackView } from './views.ts';

const STEPS_MAX = 50;

/** What was undone, step by step. */
export function rollbackBody(view: RollbackView): PhaseBody {
  const steps = view.report?.steps ?? [];
  const block =
    steps.length === 0
      ? undefined
      : table({
          columns: leftColumns('Step', 'Outcome'),
          items: steps,
          cells: ({ step, outcome }) => [prose(step), prose(outcome)],
          maxRows: STEPS_MAX,
        });
  return {
    verdict: verdict(view, steps.length),
    sections: [{ weight: 'main', blocks: [block] }, eventSection(view.nativeEvents)],
  };
}

function verdict({ result, isWayBack }: RollbackView, steps: number): Span | undefined {
  if (result === 'passed' && isWayBack === true)
    return span`**The way back is given up.** The old source stays fenced, and is not followed any more.`;
  if (result === 'passed')
    return span`**Rolled back.** The source serves as it was found before the migration.`;
  if (steps === 0) return undefined;
  return span`**Not rolled back completely.** ${formatCount(steps)} steps were taken.`;
}
