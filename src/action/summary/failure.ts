import type { ErrorRecord } from '../../core/errors.ts';
import { alert, type Block, code, paragraph, prose, span } from './markdown.ts';

/** The error of a phase: what happened, what to do, and whether it helps to run the phase again as it is. */
export function failureAlert(error: ErrorRecord): Block {
  return alert('CAUTION', [
    paragraph(prose(error.message)),
    error.remedy === '' ? undefined : paragraph(span`**What to do:** ${prose(error.remedy)}`),
    paragraph(
      error.retryable
        ? span`Error ${code(error.code)}. The phase may pass when it is run again without any change.`
        : span`Error ${code(error.code)}. Running the phase again without a change will not help.`,
    ),
  ]);
}
