import { marked, type Token } from 'marked';

const OWN_HTML = /^\s*(?:<details>\s*<summary>[^<>]*<\/summary>|<\/details>)\s*$/u;
const WORDS = new Set(['text', 'escape', 'codespan']);

/**
 * The tree of a Markdown text without its words: what a reader sees as headings, tables, boxes and sections.
 *
 * Links, images and HTML that is not ours stand out in it with their source.
 */
export function structureOf(markdown: string): string[] {
  return marked.lexer(markdown).flatMap((token) => describe(token, ''));
}

function describe(token: Token, indent: string): string[] {
  if (token.type === 'space' || WORDS.has(token.type)) return inlineChildren(token, indent);
  if (token.type === 'html') return describeHtml(token.raw, indent);
  if (token.type === 'table') return describeTable(token, indent);
  const raw = ['link', 'image', 'def', 'del', 'em'].includes(token.type) ? ` ${token.raw}` : '';
  const lines = [`${indent}${token.type}${raw}`];
  if (token.type === 'list')
    return [...lines, ...childrenIn(token, 'items').flatMap((item) => describe(item, `${indent} `))];
  return [...lines, ...inlineChildren(token, `${indent} `)];
}

/** `<code>` is the other form of a code span, so it is words. */
function describeHtml(raw: string, indent: string): string[] {
  if (raw === '<code>' || raw === '</code>') return [];
  return [`${indent}html ${OWN_HTML.test(raw) ? 'own' : raw}`];
}

function describeTable(token: Token, indent: string): string[] {
  const header = 'header' in token && Array.isArray(token.header) ? token.header : [];
  const rows: unknown[] = 'rows' in token && Array.isArray(token.rows) ? token.rows : [];
  const lines = rows.map((row) => `${indent} row ${Array.isArray(row) ? row.length : '?'}`);
  // marked pads and cuts rows to the width of the header, as GitHub does, so the pipes of the source are counted too.
  const pipes = token.raw
    .trimEnd()
    .split('\n')
    .map((line) => `${indent} pipes ${line.split('|').length - 1}`);
  const cells = [...header, ...rows.flat()].flatMap((cell) => inlineChildren(cell, `${indent}  `));
  return [`${indent}table ${header.length}`, ...lines, ...pipes, ...cells];
}

function inlineChildren(token: object, indent: string): string[] {
  return childrenIn(token, 'tokens').flatMap((child) => describe(child, indent));
}

function childrenIn(token: object, name: 'tokens' | 'items'): Token[] {
  const children: unknown = Reflect.get(token, name);
  return Array.isArray(children) ? children : [];
}

/** What a reader sees of a Markdown text; our own word breaks are still in it. */
export function visibleText(markdown: string): string {
  const html = marked.parse(markdown, { async: false });
  return decode(html.replace(/<[^>]*>/gu, '')).trim();
}

function decode(html: string): string {
  const names: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"' };
  return html.replace(/&(?:#(\d+)|(\w+));/gu, (whole, code?: string, name?: string) =>
    code === undefined ? (names[name ?? ''] ?? whole) : String.fromCodePoint(Number(code)),
  );
}
