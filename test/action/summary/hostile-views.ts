import type { PhaseView } from '../../../src/action/summary/views.ts';

/** The words of the contract; every other text of a view came from outside. */
const OWN_FIELDS = ['phase', 'result', 'route', 'kind', 'scope', 'bottleneck', 'stage', 'what'];

/** The view with one text in all places that hold a text from outside. */
export function withTexts(view: PhaseView, text: string): PhaseView {
  return JSON.parse(JSON.stringify(view), (name, value) => {
    const isOwn =
      OWN_FIELDS.includes(name) || (name === 'status' && FINDING_AND_JOB_STATUSES.includes(value));
    return typeof value === 'string' && !isOwn ? text : value;
  });
}

const FINDING_AND_JOB_STATUSES = [
  'pass',
  'warn',
  'fail',
  'running',
  'succeeded',
  'failed',
  'stopped',
  'dead',
];
