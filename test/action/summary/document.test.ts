import { describe, expect, it } from 'vitest';
import { assembleSummary, type Section } from '../../../src/action/summary/document.ts';
import { details, heading, paragraph } from '../../../src/action/summary/markdown.ts';
import { structureOf } from './markup-structure.ts';

const words = (length: number, word: string) => paragraph(word.repeat(length));
const main = (name: string): Section => ({ weight: 'main', blocks: [heading(2, name), words(200, 'm')] });
const detail = (name: string): Section => ({ weight: 'detail', blocks: [details(name, [words(200, 'd')])] });

describe('a summary that is put together', () => {
  it('holds all sections in their order when they fit', () => {
    const text = assembleSummary([main('One'), detail('Two'), main('Three')], { maxBytes: 10_000 });
    expect(text.match(/One|Two|Three/gu)).toEqual(['One', 'Two', 'Three']);
    expect(text).not.toContain('left out');
  });

  it('leaves out the last details first and says how many', () => {
    const sections = [main('One'), detail('Two'), detail('Three'), main('Four')];
    const text = assembleSummary(sections, { maxBytes: 700 });
    expect(text.match(/One|Two|Three|Four/gu)).toEqual(['One', 'Four']);
    expect(text).toContain('2 sections were left out');
  });

  it('leaves out the last main sections when the details are gone', () => {
    const text = assembleSummary([main('One'), main('Two'), detail('Three')], { maxBytes: 400 });
    expect(text.match(/One|Two|Three/gu)).toEqual(['One']);
    expect(structureOf(text).filter((line) => line.startsWith('html'))).toEqual([]);
  });

  it('stays below any limit that its note fits into, counted in bytes of UTF-8', () => {
    const sections = ['One', 'Two', 'Three'].flatMap((name) => [main(name), detail(name)]);
    sections.push({ weight: 'detail', blocks: [details('Wide', [words(300, '漢')])] });
    for (let maxBytes = 150; maxBytes < 3000; maxBytes += 37) {
      const text = assembleSummary(sections, { maxBytes });
      expect(Buffer.byteLength(text, 'utf8')).toBeLessThanOrEqual(maxBytes);
      expect(text.match(/<details>/gu)?.length).toBe(text.match(/<\/details>/gu)?.length);
    }
  });
});
