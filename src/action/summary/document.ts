import { alert, type Block, joinBlocks, paragraph, type Span, span } from './markdown.ts';

/** GitHub drops a step summary above 1 MiB; this leaves room for what other tools of the step add. */
export const SUMMARY_BYTES_MAX = 900_000;

/** A part of a summary that is kept or left out as a whole; details are left out first. */
export type Section = {
  readonly weight: 'main' | 'detail';
  readonly blocks: readonly (Block | undefined)[];
};

/** What a phase says below the common head. */
export type PhaseBody = {
  /** One line that a reviewer can act on; undefined when the phase failed before it found anything. */
  readonly verdict?: Span | undefined;
  readonly sections: readonly Section[];
};

/**
 * Joins sections to one Markdown text of at most `maxBytes` bytes of UTF-8.
 *
 * What does not fit is left out in whole sections, the last details first, then the last main ones, and a note says
 * so: a text that is cut in the middle of a table or an open `<details>` swallows everything after it.
 */
export function assembleSummary(sections: readonly Section[], options: { maxBytes: number }): string {
  const parts = sections
    .map((section) => ({ weight: section.weight, markdown: joinBlocks(section.blocks) }))
    .filter((part) => part.markdown !== '');
  const kept = [...parts];
  while (kept.length > 0 && byteLength(kept, parts.length) > options.maxBytes) {
    const lastDetail = kept.findLastIndex((part) => part.weight === 'detail');
    kept.splice(lastDetail === -1 ? kept.length - 1 : lastDetail, 1);
  }
  return toText(kept, parts.length);
}

function byteLength(kept: readonly { markdown: string }[], total: number): number {
  return Buffer.byteLength(toText(kept, total), 'utf8');
}

function toText(kept: readonly { markdown: string }[], total: number): string {
  const cut = total - kept.length;
  const texts = kept.map((part) => part.markdown);
  if (cut > 0) texts.push(joinBlocks([cutNote(cut)]));
  return `${texts.join('\n\n')}\n`;
}

function cutNote(cut: number): Block {
  const sections = cut === 1 ? 'One section was' : `${cut} sections were`;
  return alert('NOTE', [
    paragraph(span`${sections} left out to stay below GitHub's size limit. The JSON report is complete.`),
  ]);
}
