import { deepStrictEqual, ok } from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Marked } from 'marked';
import { z } from 'zod';
import { plainLine } from '../../src/action/summary/foreign-text.ts';
import { code, joinBlocks, paragraph } from '../../src/action/summary/markdown.ts';
import { renderSummary } from '../../src/action/summary/summary.ts';
import { HOSTILE_TEXTS } from '../action/summary/hostile-texts.ts';
import { withTexts } from '../action/summary/hostile-views.ts';
import { SAMPLE_VIEWS } from '../action/summary/sample-views.ts';
import { type Browser, type Deeds, findChromium, startChromium } from './chromium.ts';

/** In place of a hostile text; nothing that a page of ours says otherwise. */
const HARMLESS = 'xharmlessx';
/** Longer texts are cut differently in different places; so much of them must be there. */
const SHOWN_CHARACTERS = 60;
/** The section that has nothing but the text, in a paragraph and as a name. */
const PLACES = 'places';
const NOTHING: Deeds = { scripts: [], requests: [], openings: [] };

/** What a summary is made of, and nothing else. */
const ELEMENTS = new Set([
  ...['h2', 'h3', 'h4', 'p', 'strong', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li', 'br', 'hr'],
  ...['table', 'thead', 'tbody', 'tr', 'th', 'td', 'details', 'summary', 'section'],
]);

const pageSchema = z.object({
  /** Every element in its order, with its depth and its attributes. */
  tree: z.array(z.string()),
  elements: z.array(z.string()),
  texts: z.record(z.string(), z.string()),
});
type Page = z.infer<typeof pageSchema>;

/** What a reader has before them: the elements, and the words of each section with everything unfolded. */
const LOOK = `(() => {
  for (const each of document.querySelectorAll('details')) each.open = true;
  const depth = (each) => each === document.body ? 0 : 1 + depth(each.parentElement);
  const all = [...document.body.querySelectorAll('*')];
  const attributes = (each) => each.getAttributeNames().filter((name) => name !== 'open').sort()
    .map((name) => ' ' + name + '=' + each.getAttribute(name)).join('');
  const sections = [...document.body.children];
  return {
    tree: all.map((each) => depth(each) + ' ' + each.localName + attributes(each)),
    elements: [...new Set(all.map((each) => each.localName))],
    texts: Object.fromEntries(sections.map((each) => [each.id, each.innerText])),
  };
})()`;

/**
 * Shows every summary with every hostile text in a real browser, made into HTML by a reader of GitHub's Markdown that
 * takes nothing out, which GitHub does besides: what is harmless here needs nobody to make it so.
 *
 * @throws Error for what ran, left, was made of a text or is not shown, and where there is no browser
 */
export async function proveHostileTexts(
  { screenshots }: { screenshots: string },
  print: (line: string) => void,
): Promise<void> {
  const program = findChromium();
  if (program === undefined)
    throw new Error('There is no Chromium here: install it, or give the path of one as CHROMIUM.');
  await using browser = await startChromium(program);
  print(`${browser.version}, ${HOSTILE_TEXTS.length} texts, ${Object.keys(SAMPLE_VIEWS).length} summaries`);
  await expectJudgeToSee(browser);
  const css = await readFile(
    createRequire(import.meta.url).resolve('github-markdown-css/github-markdown-light.css'),
    'utf8',
  );
  if (screenshots !== '') await mkdir(screenshots, { recursive: true });
  const look = async (text: string, name: string) => {
    const { value, deeds, png } = await browser.show(pageOf(text, css), LOOK);
    if (screenshots !== '') await writeFile(join(screenshots, `${name}.png`), png);
    return { page: pageSchema.parse(value), deeds };
  };
  const harmless = await look(HARMLESS, 'harmless');
  deepStrictEqual(harmless.deeds, NOTHING);
  // Of one that has no words nothing could be seen.
  const texts = HOSTILE_TEXTS.map((text) => (plainLine(text, 1000).trim() === '' ? `x${text}` : text));
  ok(texts.length >= 50);
  for (const [index, text] of texts.entries()) {
    const { page, deeds } = await look(text, String(index));
    try {
      deepStrictEqual(deeds, NOTHING);
      expectSame(page, harmless.page);
      expectShown(text, page, harmless.page);
    } catch (cause) {
      throw new Error(`Not harmless: ${JSON.stringify(text).slice(0, 100)}`, { cause });
    }
  }
  print(`${texts.length} texts are words in every place: no script, no request, no element of theirs`);
}

function expectSame(page: Page, harmless: Page): void {
  deepStrictEqual(
    page.elements.filter((name) => !ELEMENTS.has(name)),
    [],
  );
  // A code span is words: what messages of ours put between backticks is shown as one.
  const structure = ({ tree }: Page) => tree.filter((element) => !element.endsWith(' code'));
  deepStrictEqual(structure(page), structure(harmless));
}

/** The words of a text stand wherever those of the harmless one do. */
function expectShown(text: string, page: Page, harmless: Page): void {
  for (const [section, words] of Object.entries(harmless.texts)) {
    if (!words.includes(HARMLESS)) continue;
    // Between two backticks a message shows code, without them.
    const read = (shown: string) => (section === PLACES ? shown : shown.replaceAll('`', ''));
    const shown = read((page.texts[section] ?? '').replaceAll('\u200b', ''));
    const isShown = spellings(text).map((spelling) => shown.includes(read(spelling)));
    const holds = section === PLACES ? isShown.every(Boolean) : isShown.some(Boolean);
    if (!holds) throw new Error(`It is not shown in ${section}: ${shown.slice(0, 2000)}`);
  }
}

/** How the text may stand on a page: as a line of words, or as a name with every character written out. */
function spellings(text: string): string[] {
  return [plainLine(text, 1000), writtenOut(text)].map((shown) =>
    shown.trim().slice(0, SHOWN_CHARACTERS).trim(),
  );
}

function writtenOut(text: string): string {
  const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16);
    return named[character] ?? (code.length > 2 ? `\\u{${code}}` : `\\x${code.padStart(2, '0')}`);
  });
}

/** Markdown as GitHub reads it, and every HTML that is in it. */
function htmlOf(markdown: string): string {
  return new Marked({ gfm: true }).parse(markdown, { async: false });
}

function pageOf(text: string, css: string): string {
  const sections = Object.entries(SAMPLE_VIEWS).map(([name, view]) => ({
    name,
    markdown: renderSummary(withTexts(view, text)),
  }));
  const places = { name: PLACES, markdown: joinBlocks([paragraph(text), paragraph(code(text))]) };
  return htmlPage(
    [places, ...sections].map(({ name, markdown }) => `<section id="${name}">${htmlOf(markdown)}</section>`),
    css,
  );
}

function htmlPage(parts: readonly string[], css: string): string {
  return `<!doctype html><html><head><meta charset="utf-8"><style>${css}</style></head><body class="markdown-body">${parts.join('\n')}</body></html>`;
}

/** The texts as they are do all of it: a judge that sees nothing there would see nothing anywhere. */
async function expectJudgeToSee(browser: Browser): Promise<void> {
  const scripts: string[] = [];
  const requests: string[] = [];
  const openings: string[] = [];
  const elements = new Set<string>();
  // One page each: some of them hide all that follows.
  for (const text of HOSTILE_TEXTS.filter((each) => each.length < 600)) {
    const page = htmlPage([`<section id="raw">${htmlOf(text)}</section>`], '');
    const { value, deeds } = await browser.show(page, LOOK);
    scripts.push(...deeds.scripts);
    requests.push(...deeds.requests);
    openings.push(...deeds.openings);
    for (const name of pageSchema.parse(value).elements) elements.add(name);
  }
  ok(scripts.length >= 2, 'a script, or the handler of an event, is not seen');
  ok(
    requests.some((url) => url.includes('evil.example')),
    'a request is not seen',
  );
  ok(
    openings.some((opening) => opening.startsWith('dialog')),
    'a dialog is not seen',
  );
  for (const name of ['script', 'img', 'a', 'h1', 'b', 'em'])
    ok(elements.has(name), `the element ${name} is not seen`);
}
