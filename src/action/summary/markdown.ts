import { formatCount } from '../../core/units.ts';
import {
  escapeCode,
  escapeHtml,
  escapeProse,
  NAME_CHARACTERS_MAX,
  PROSE_CHARACTERS_MAX,
  shorten,
} from './foreign-text.ts';

const FACTS_MAX = 100;

// Only this file can make these two, so that every plain string that reaches a summary has been escaped here.
const SPAN = Symbol('span');
const BLOCK = Symbol('block');

/** Markup inside a line. */
export type Span = { readonly [SPAN]: string };
/** Markup of its own lines: a paragraph, a table, a section that unfolds. */
export type Block = { readonly [BLOCK]: string };
/** What can stand in a line: a plain string is foreign and is escaped, whatever it holds. */
export type Phrase = string | Span;

/** Markup from a template: its own words are Markdown, what is put into it is escaped. */
export function span(words: TemplateStringsArray, ...phrases: readonly Phrase[]): Span {
  const parts = words.map((word, index) => {
    const phrase = phrases[index];
    return phrase === undefined ? word : word + inline(phrase);
  });
  return { [SPAN]: parts.join('') };
}

/** A name from outside (key, id, address, path) in fixed width. */
export function code(name: string): Span {
  return { [SPAN]: escapeCode(name, NAME_CHARACTERS_MAX) };
}

/** A message of ours or of a server: what it sets between single backticks becomes {@link code}. */
export function prose(message: string): Span {
  const parts = shorten(message, PROSE_CHARACTERS_MAX).split(/(?<!`)`([^`\n]+)`(?!`)/u);
  const spans = parts.map((part, index) =>
    index % 2 === 1 ? escapeCode(part, NAME_CHARACTERS_MAX) : escapeProse(part, PROSE_CHARACTERS_MAX),
  );
  return { [SPAN]: spans.join('') };
}

/** Emphasis; of an empty text nothing, because asterisks around nothing are asterisks. */
export function strong(text: string): Span {
  const words = inline(text);
  return { [SPAN]: words === '' ? '' : `**${words}**` };
}

/** Phrases one after another with a separator of ours between them. */
export function joined(phrases: readonly Phrase[], separator: ', ' | ' · ' | '; '): Span {
  return { [SPAN]: phrases.map(inline).join(separator) };
}

/** A moment in UTC to the second; `unknown` where the number is no moment. */
export function instant(atMs: number): Span {
  const date = new Date(atMs);
  if (Number.isNaN(date.getTime())) return span`unknown`;
  return { [SPAN]: `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC` };
}

/** A heading of level 2 to 4. */
export function heading(level: 2 | 3 | 4, phrase: Phrase): Block {
  return { [BLOCK]: `${'#'.repeat(level)} ${inline(phrase)}` };
}

/** One paragraph. */
export function paragraph(phrase: Phrase): Block {
  return { [BLOCK]: inline(phrase) };
}

/** A list of at most `maxItems`, of which no more are rendered; a last item counts what was left out. */
export function list<Item>(options: {
  items: readonly Item[];
  show: (item: Item) => Phrase;
  maxItems: number;
  style: 'bullets' | 'numbers';
}): Block {
  const { items, show, maxItems, style } = options;
  const phrases = items.slice(0, maxItems).map(show);
  if (items.length > maxItems) phrases.push(`… and ${formatCount(items.length - maxItems)} more`);
  const lines = phrases.map(
    // A mark without words would make a heading of the line before it.
    (phrase, index) => `${style === 'numbers' ? `${index + 1}.` : '-'} ${inline(phrase) || '(empty)'}`,
  );
  return { [BLOCK]: lines.join('\n') };
}

/** A column: its title, and `right` for numbers. */
export type Column = { readonly title: string; readonly align: 'left' | 'right' };

/**
 * A table of at most `maxRows`, of which no more are rendered; a line below counts what was left out, of `totalItems`
 * where there are more than were given.
 */
export function table<Item>(options: {
  columns: readonly Column[];
  items: readonly Item[];
  cells: (item: Item) => readonly Phrase[];
  maxRows: number;
  totalItems?: number | undefined;
}): Block {
  const { columns, items, cells, maxRows } = options;
  const shown = items.slice(0, maxRows).map(cells);
  const lines = [
    row(columns.map((column) => inline(column.title))),
    row(columns.map((column) => (column.align === 'right' ? '---:' : ':---'))),
    ...shown.map((phrases) => row(columns.map((_, index) => inline(phrases[index] ?? '')))),
  ];
  const cut = (options.totalItems ?? items.length) - shown.length;
  if (cut > 0) lines.push('', `… and ${formatCount(cut)} more that are not listed here.`);
  return { [BLOCK]: lines.join('\n') };
}

/** A table of two columns without what is not known. */
export function facts(options: {
  title: string;
  rows: readonly (readonly [string, Phrase | undefined])[];
}): Block {
  const items = options.rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return table({ columns: leftColumns(options.title, ''), items, cells: (pair) => pair, maxRows: FACTS_MAX });
}

/** Columns that are all aligned to the left. */
export function leftColumns(...titles: readonly string[]): Column[] {
  return titles.map((title) => ({ title, align: 'left' }));
}

/** A section that is folded until it is clicked. */
export function details(title: string, blocks: readonly (Block | undefined)[]): Block {
  const summary = escapeHtml(title, NAME_CHARACTERS_MAX);
  return { [BLOCK]: `<details>\n<summary>${summary}</summary>\n\n${joinBlocks(blocks)}\n\n</details>` };
}

/** A coloured box: blue, green, yellow or red, in this order. */
export function alert(
  kind: 'NOTE' | 'TIP' | 'WARNING' | 'CAUTION',
  blocks: readonly (Block | undefined)[],
): Block {
  const lines = [`[!${kind}]`, ...joinBlocks(blocks).split('\n')];
  return { [BLOCK]: lines.map((line) => (line === '' ? '>' : `> ${line}`)).join('\n') };
}

/** A fenced mermaid diagram; the lines must hold no foreign text. */
export function mermaid(lines: readonly string[]): Block {
  return { [BLOCK]: ['```mermaid', ...lines, '```'].join('\n') };
}

/** The Markdown of one block or of several with blank lines between them. */
export function joinBlocks(blocks: readonly (Block | undefined)[]): string {
  return blocks.flatMap((block) => (block === undefined ? [] : [block[BLOCK]])).join('\n\n');
}

function inline(phrase: Phrase): string {
  return typeof phrase === 'string' ? escapeProse(phrase.trim(), PROSE_CHARACTERS_MAX).trim() : phrase[SPAN];
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
