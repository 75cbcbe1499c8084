import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Marked, type Tokens } from 'marked';
import { type ParsedChart, parseChart } from './chart.ts';

/**
 * A page of its own that shows a job summary as GitHub does, without network: styles inlined, charts as SVG.
 *
 * Raw HTML other than the few elements that summaries use is shown as text.
 */
export function renderHtmlPage(options: { title: string; markdown: string }): string {
  const css = readFileSync(
    createRequire(import.meta.url).resolve('github-markdown-css/github-markdown.css'),
    'utf8',
  );
  const body = renderer.parse(options.markdown, { async: false });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(options.title)}</title>
<style>
${css}
${PAGE_CSS}
</style>
</head>
<body class="markdown-body">
<main>
${body}
</main>
</body>
</html>
`;
}

const PAGE_CSS = `
body.markdown-body { margin: 0; }
main { box-sizing: border-box; max-width: 1012px; margin: 0 auto; padding: 32px; }
.chart { display: block; width: 100%; max-width: 700px; height: auto; margin: 0 auto 16px; }
.chart text { fill: currentColor; font: 12px sans-serif; }
.chart .grid { stroke: currentColor; stroke-opacity: 0.15; }
.chart .line { fill: none; stroke: #0969da; stroke-width: 2.5; stroke-linejoin: round; }
`;
const OWN_HTML = /^(?:<\/?(?:details|summary|code)>|[^<>])*$/u;
const ALERT = /^<p>\[!(NOTE|TIP|WARNING|CAUTION)\]\s*(?:<\/p>\s*)?/u;

const renderer = new Marked({
  renderer: {
    html: ({ text }) => (OWN_HTML.test(text) ? text : escapeHtml(text)),
    code: ({ text }) => {
      const chart = parseChart(text);
      return chart === undefined ? `<pre><code>${escapeHtml(text)}</code></pre>\n` : chartSvg(chart);
    },
    blockquote(token: Tokens.Blockquote) {
      const inner = this.parser.parse(token.tokens);
      const kind = ALERT.exec(inner)?.[1];
      if (kind === undefined) return `<blockquote>\n${inner}</blockquote>\n`;
      return alertBox(
        kind,
        inner.replace(ALERT, (start) => (start.includes('</p>') ? '' : '<p>')),
      );
    },
  },
});

function alertBox(kind: string, inner: string): string {
  const name = kind.toLowerCase();
  const title = kind.charAt(0) + name.slice(1);
  return `<div class="markdown-alert markdown-alert-${name}"><p class="markdown-alert-title">${title}</p>\n${inner}</div>\n`;
}

const PLOT = { width: 700, height: 260, left: 64, right: 16, top: 36, bottom: 44 } as const;
const GRID_LINES = 4;

function chartSvg(chart: ParsedChart): string {
  const { width, height, left, right, top, bottom } = PLOT;
  const spanX = width - left - right;
  const spanY = height - top - bottom;
  const x = (share: number) => (left + share * spanX).toFixed(1);
  const y = (share: number) => (top + (1 - share) * spanY).toFixed(1);
  const points = chart.values.map((value, index) => {
    const share = Math.min(Math.max(value / chart.yMax, 0), 1);
    return `${x(index / Math.max(1, chart.values.length - 1))},${y(share)}`;
  });
  const [from, to] = chart.xRange;
  const grid = Array.from({ length: GRID_LINES + 1 }, (_, index) => {
    const share = index / GRID_LINES;
    const [yLabel, xLabel] = [axisLabel(share * chart.yMax), axisLabel(from + share * (to - from))];
    return `<line class="grid" x1="${x(0)}" x2="${x(1)}" y1="${y(share)}" y2="${y(share)}"/>
<text x="${left - 8}" y="${y(share)}" text-anchor="end" dominant-baseline="middle">${yLabel}</text>
<text x="${x(share)}" y="${height - bottom + 18}" text-anchor="middle">${xLabel}</text>`;
  });
  return `<svg class="chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(chart.title)}">
<text x="${width / 2}" y="18" text-anchor="middle" style="font-weight:600">${escapeHtml(chart.title)} (${escapeHtml(chart.yTitle)})</text>
${grid.join('\n')}
<text x="${left + spanX / 2}" y="${height - 8}" text-anchor="middle">${escapeHtml(chart.xTitle)}</text>
<polyline class="line" points="${points.join(' ')}"/>
</svg>
`;
}

function axisLabel(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/gu, (character) => `&#${character.charCodeAt(0)};`);
}
