import { marked, type Token, type Tokens } from 'marked';
import { type ParsedChart, parseChart } from './chart.ts';
import { displayWidth, wrap } from './display-width.ts';

/** How a summary is shown in a terminal. */
export type TerminalOptions = {
  /** ANSI colours and weights; without them the output is plain text. */
  readonly colours: boolean;
  /** Columns of the terminal: longer lines are wrapped, wider tables have their widest column wrapped. */
  readonly width: number;
};

/** Renders a job summary for reading in a terminal: aligned tables, unfolded details, charts as bars. */
export function renderTerminal(markdown: string, options: TerminalOptions): string {
  return `${renderTokens(marked.lexer(markdown), options).join('\n')}\n`;
}

type Style = 'bold' | 'dim' | 'cyan' | 'red' | 'green' | 'yellow' | 'blue';
const STYLES = { bold: 1, dim: 2, cyan: 36, red: 31, green: 32, yellow: 33, blue: 34 } as const;
const ALERTS = { NOTE: 'blue', TIP: 'green', WARNING: 'yellow', CAUTION: 'red' } as const;
const BARS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const INDENT = '  ';

function renderTokens(tokens: readonly Token[], options: TerminalOptions): string[] {
  const lines: string[] = [];
  for (const part of unfold(tokens)) {
    const indent = INDENT.repeat(part.indent);
    const width = options.width - indent.length;
    const rendered = indented(renderToken(part.token, { ...options, width }), indent);
    if (rendered.length === 0) continue;
    if (lines.length > 0) lines.push('');
    lines.push(...rendered);
  }
  return lines;
}

/** Marks what stands inside `<details>`, which marked leaves as tokens between two pieces of HTML. */
function unfold(tokens: readonly Token[]): { token: Token; indent: number }[] {
  let indent = 0;
  return tokens.flatMap((token) => {
    if (token.type === 'html' && token.raw.startsWith('</details>')) {
      indent -= 1;
      return [];
    }
    const part = { token, indent };
    if (token.type === 'html' && token.raw.startsWith('<details>')) indent += 1;
    return [part];
  });
}

function renderToken(token: Token, options: TerminalOptions): string[] {
  switch (token.type) {
    case 'heading':
      return [styled(inlineText(token, options), 'bold', options)];
    case 'paragraph':
    case 'text':
      return wrap(inlineText(token, options), options.width);
    case 'list':
      return isList(token) ? renderList(token, options) : [];
    case 'table':
      return isTable(token) ? renderTable(token, options) : [];
    case 'blockquote':
      return renderAlert(token, options);
    case 'code':
      return renderCode(token, options);
    case 'html':
      return [styled(`▾ ${decodeEntities(token.raw.replace(/<[^>]*>/gu, '').trim())}`, 'bold', options)];
    default:
      return [];
  }
}

function renderList(list: Tokens.List, options: TerminalOptions): string[] {
  return list.items.flatMap((item, index) => {
    const marker = list.ordered ? `${index + Number(list.start || 1)}. ` : '• ';
    const lines = wrap(inlineText(item, options), options.width - marker.length);
    return lines.map((line, row) => (row === 0 ? marker : ' '.repeat(marker.length)) + line);
  });
}

function renderAlert(token: Token, options: TerminalOptions): string[] {
  const children = childrenOf(token);
  const kind = /^> \[!(NOTE|TIP|WARNING|CAUTION)\]/u.exec(token.raw)?.[1];
  const colour = isAlertKind(kind) ? ALERTS[kind] : 'dim';
  const body = renderTokens(children, { ...options, width: options.width - 2 });
  const lines = body.map((line) => (isAlertKind(kind) ? line.replace(`[!${kind}]`, kind) : line));
  return lines.map((line) => `${styled('┃', colour, options)} ${line}`.trimEnd());
}

function isAlertKind(kind: string | undefined): kind is keyof typeof ALERTS {
  return kind !== undefined && kind in ALERTS;
}

function renderCode(token: Token, options: TerminalOptions): string[] {
  const text = 'text' in token && typeof token.text === 'string' ? token.text : '';
  const chart = parseChart(text);
  return chart === undefined ? indented(text.split('\n'), INDENT) : renderChart(chart, options);
}

/** One row of bars: the course is seen at a glance, the numbers stand beside it. */
function renderChart(chart: ParsedChart, options: TerminalOptions): string[] {
  const top = Math.max(chart.yMax, Number.MIN_VALUE);
  const bars = chart.values.map((value) => {
    const level = Math.round((Math.min(Math.max(value, 0), top) / top) * (BARS.length - 1));
    return BARS[level] ?? '';
  });
  const [from, to] = chart.xRange;
  const last = chart.values.at(-1) ?? 0;
  return [
    styled(`${chart.title}, ${chart.yTitle}`, 'dim', options),
    `${styled(bars.join(''), 'cyan', options)} ${last} of ${chart.yMax}`,
    styled(`${from} to ${to} ${chart.xTitle}`, 'dim', options),
  ];
}

function renderTable(table: Tokens.Table, options: TerminalOptions): string[] {
  const header = table.header.map((cell) => styled(inlineText(cell, options), 'bold', options));
  const rows = table.rows.map((row) => row.map((cell) => inlineText(cell, options)));
  const widths = columnWidths([header, ...rows], options.width);
  const renderRow = (row: readonly string[]): string[] => {
    const cells = row.map((cell, column) => wrap(cell, widths[column] ?? 1));
    const height = Math.max(1, ...cells.map((cell) => cell.length));
    return Array.from({ length: height }, (_, line) =>
      cells
        .map((cell, column) => padded(cell[line] ?? '', widths[column] ?? 0, table.align[column]))
        .join('  ')
        .trimEnd(),
    );
  };
  const rule = styled(widths.map((width) => '─'.repeat(width)).join('──'), 'dim', options);
  return [...renderRow(header), rule, ...rows.flatMap(renderRow)];
}

/** Natural widths; while they do not fit, the widest column gives. */
function columnWidths(rows: readonly (readonly string[])[], width: number): number[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(1, ...rows.map((row) => displayWidth(row[column] ?? ''))),
  );
  let excess = widths.reduce((sum, each) => sum + each, 2 * (widths.length - 1)) - width;
  while (excess > 0) {
    const widest = Math.max(...widths);
    if (widest <= 12) break;
    widths[widths.indexOf(widest)] = widest - 1;
    excess -= 1;
  }
  return widths;
}

function padded(text: string, width: number, align: Tokens.Table['align'][number] | undefined): string {
  const padding = ' '.repeat(Math.max(0, width - displayWidth(text)));
  return align === 'right' ? padding + text : text + padding;
}

function inlineText(token: object, options: TerminalOptions): string {
  return childrenOf(token)
    .map((child) => {
      if (child.type === 'strong') return styled(inlineText(child, options), 'bold', options);
      if (child.type === 'codespan') return styled(plainText(child), 'cyan', options);
      if (child.type === 'html') return '';
      if (childrenOf(child).length > 0) return inlineText(child, options);
      return decodeEntities(plainText(child)).replaceAll('\u200b', '');
    })
    .join('');
}

function plainText(token: object): string {
  return 'text' in token && typeof token.text === 'string' ? token.text : '';
}

function childrenOf(token: object): Token[] {
  return 'tokens' in token && Array.isArray(token.tokens) ? token.tokens : [];
}

function isList(token: Token): token is Tokens.List {
  return token.type === 'list';
}

function isTable(token: Token): token is Tokens.Table {
  return token.type === 'table';
}

function decodeEntities(text: string): string {
  const names: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"' };
  return text.replace(/&(?:#(\d+)|(amp|lt|gt|quot));/gu, (_, code?: string, name?: string) =>
    code === undefined ? (names[name ?? ''] ?? '') : String.fromCodePoint(Number(code)),
  );
}

function indented(lines: readonly string[], indent: string): string[] {
  return lines.map((line) => (line === '' ? '' : indent + line));
}

/** Styles each word by itself, so that a line break inside a table cell does not colour the next column. */
function styled(text: string, style: Style, options: TerminalOptions): string {
  if (!options.colours) return text;
  const reset = style === 'bold' || style === 'dim' ? 22 : 39;
  const words = text.split(' ');
  return words
    .map((word) => (word === '' ? '' : `\u001b[${STYLES[style]}m${word}\u001b[${reset}m`))
    .join(' ');
}
