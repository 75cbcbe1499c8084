import { HASH_FIELD_TTL, notAgreedTo, type Skipped, type SkippedCount } from '../../contract/skipped.ts';
import { formatCount } from '../../core/units.ts';
import {
  type Block,
  code,
  joined,
  leftColumns,
  paragraph,
  prose,
  type Span,
  span,
  table,
} from './markdown.ts';

const ROWS_MAX = 50;

/** What was left out, as the singular and plural of its kind. */
const WORDS = {
  keys: ['key', 'keys'],
  commands: ['command', 'commands'],
  'module-data': ['data set beside the keys', 'data sets beside the keys'],
} as const satisfies Record<SkippedCount['what'], readonly [string, string]>;

/** The table of what is left out with the first names, and what that means for the cutover; nothing for nothing. */
export function skippedBlocks(skipped: readonly Skipped[] | undefined): Block[] {
  if (skipped === undefined || skipped.length === 0) return [];
  const rows = table({
    columns: [
      ...leftColumns('⚠️ Not carried over', 'Reason'),
      { title: 'Count', align: 'right' },
      ...leftColumns('Such as'),
    ],
    items: skipped,
    cells: ({ what, reason, count, sample }) => [
      WORDS[what][1],
      prose(
        reason === HASH_FIELD_TTL ? 'expiry times of hash fields, which the target does not know' : reason,
      ),
      formatCount(count),
      joined(sample.map(code), ', '),
    ],
    maxRows: ROWS_MAX,
  });
  if (notAgreedTo(skipped).length === 0) return [rows];
  return [rows, paragraph(REFUSAL)];
}

const REFUSAL: Span = span`complete-migration refuses to hand over without it, unless ${code('allow-skipped')} is true. On the route ${code('replica')}, ${code('skipped.ndjson')} in the migration's folder on the host lists the keys.`;

/** `12 keys, 3 commands`; undefined for nothing. */
export function skippedCounts(skipped: readonly SkippedCount[] | undefined): string | undefined {
  const sums = new Map<SkippedCount['what'], number>();
  for (const { what, count } of skipped ?? []) sums.set(what, (sums.get(what) ?? 0) + count);
  const shown = Array.from(
    sums,
    ([what, count]) => `${formatCount(count)} ${WORDS[what][count === 1 ? 0 : 1]}`,
  );
  return shown.length === 0 ? undefined : shown.join(', ');
}
