import { describe, expect, it } from 'vitest';
import { renderSummary } from '../../src/action/summary/summary.ts';
import { SAMPLE_VIEWS } from '../action/summary/sample-views.ts';
import { displayWidth, wrap } from './display-width.ts';
import { renderHtmlPage } from './html.ts';
import { renderTerminal } from './terminal.ts';

const WIDTH = 100;
const STYLE = String.fromCharCode(27);

describe('a summary in a terminal', () => {
  it('aligns tables, unfolds details and draws the course as bars', () => {
    const text = renderTerminal(sample('status-passed'), { colours: false, width: WIDTH });
    expect(text).toContain('Repository  acme/sessions\n');
    expect(text).toMatch(/^▁[▁▂▃▄▅▆▇]+█+ 100 of 100$/mu);
    const folded = renderTerminal(sample('verify-passed'), { colours: false, width: WIDTH });
    expect(folded).toContain('▾ By type\n\n  Type       Keys  Differences\n');
    expect(folded).not.toMatch(/<|&#|\||`/u);
  });

  it('keeps to the width of the terminal and styles only when asked', () => {
    for (const [name, view] of Object.entries(SAMPLE_VIEWS)) {
      const text = renderTerminal(renderSummary(view), { colours: false, width: WIDTH });
      for (const line of text.split('\n'))
        expect(`${name}: ${displayWidth(line) <= WIDTH}`).toBe(`${name}: true`);
      expect(text).not.toContain(STYLE);
      const styled = renderTerminal(renderSummary(view), { colours: true, width: WIDTH });
      expect(styled).toContain(`${STYLE}[1m`);
    }
  });

  it('reads the same with colours as without', () => {
    const sequence = new RegExp(`${STYLE}\\[\\d+m`, 'g');
    for (const view of Object.values(SAMPLE_VIEWS)) {
      for (const width of [50, WIDTH]) {
        const styled = renderTerminal(renderSummary(view), { colours: true, width });
        const plain = renderTerminal(renderSummary(view), { colours: false, width });
        expect(styled.replace(sequence, '').replace(/ +$/gmu, '')).toBe(plain);
      }
    }
  });

  it('marks every line of a box', () => {
    const box = renderTerminal(sample('cleanup-failed'), { colours: false, width: WIDTH });
    expect(box).toContain('┃ CAUTION\n┃ /var/lib/valkey-migrate cannot be written: EROFS.\n┃\n┃ What to do:');
  });

  it('counts wide characters as two columns and breaks words that are too long', () => {
    expect(displayWidth('✅ 漢字')).toBe(7);
    expect(wrap('aaaa bb cccccccccc', 5)).toEqual(['aaaa', 'bb', 'ccccc', 'ccccc']);
  });
});

describe('a summary as a page', () => {
  it('needs no network and no script', () => {
    const page = renderHtmlPage({ title: '<Report>', markdown: sample('start-migration-passed') });
    expect(page).toContain('<title>&#60;Report&#62;</title>');
    expect(page).not.toMatch(/<script|<link|<img|src=|https?:\/\/(?!www\.w3\.org)/u);
    expect(page.match(/<svg class="chart"/gu)).toHaveLength(2);
  });

  it('colours the boxes and keeps sections that unfold', () => {
    const page = renderHtmlPage({ title: 'Report', markdown: sample('verify-failed-many') });
    expect(page).toContain('<div class="markdown-alert markdown-alert-caution">');
    expect(page).not.toContain('[!CAUTION]');
    expect(page).toContain('<details>\n<summary>By type</summary>');
  });

  it('shows HTML that no summary writes as text', () => {
    const page = renderHtmlPage({
      title: 'Report',
      markdown: 'a <b onclick="x()">b</b>\n\n<iframe></iframe>\n',
    });
    expect(page).not.toMatch(/<b onclick|<iframe/u);
  });
});

function sample(name: string): string {
  const view = SAMPLE_VIEWS[name];
  if (view === undefined) throw new Error(`no sample view ${name}`);
  return renderSummary(view);
}
