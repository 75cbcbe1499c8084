import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { lexer, type Token, type Tokens, walkTokens } from 'marked';

/** The root of the repository. */
export const ROOT = path.resolve(import.meta.dirname, '../..');

/** Every page that people read, relative to the root. */
export const PAGES: readonly string[] = globSync(
  ['*.md', 'docs/**/*.md', 'examples/**/*.md', '.github/**/*.md'],
  {
    cwd: ROOT,
    exclude: (name) => name.includes('node_modules'),
  },
).sort();

/** The text of a file of the repository. */
export function readPage(file: string): string {
  return readFileSync(path.join(ROOT, file), 'utf8');
}

/** What stands under one heading, up to the next one, in the order of the page. */
export type Section = {
  readonly title: string;
  readonly depth: number;
  readonly codeBlocks: { readonly language: string; readonly text: string }[];
  /** Of each table the cells of all its rows, the head first. */
  readonly tables: (readonly (readonly string[])[])[];
  readonly links: string[];
  /** Every `span` of code. */
  readonly spans: string[];
  listItems: number;
};

/** A page as its sections; what stands before the first heading has an empty title. */
export function sectionsOf(text: string): readonly Section[] {
  const sections: Section[] = [newSection('', 0)];
  for (const token of lexer(text)) {
    if (isHeading(token)) sections.push(newSection(token.text, token.depth));
    const section = sections.at(-1);
    if (section !== undefined) void walkTokens([token], (inner) => take(inner, section));
  }
  return sections;
}

function newSection(title: string, depth: number): Section {
  return { title, depth, codeBlocks: [], tables: [], links: [], spans: [], listItems: 0 };
}

function take(token: Token, section: Section): void {
  switch (token.type) {
    case 'code':
      section.codeBlocks.push({ language: String(token.lang ?? ''), text: String(token.text) });
      break;
    case 'codespan':
      section.spans.push(unescaped(String(token.text)));
      break;
    case 'link':
      section.links.push(String(token.href));
      break;
    case 'list_item':
      section.listItems += 1;
      break;
    case 'table': {
      const { header, rows } = token as Tokens.Table;
      section.tables.push([header, ...rows].map((row) => row.map((cell) => cell.text)));
    }
  }
}

function isHeading(token: Token): token is Tokens.Heading {
  return token.type === 'heading';
}

/** A span in a table holds its pipes escaped. */
function unescaped(text: string): string {
  return text.replaceAll('\\|', '|');
}

/** The anchors that GitHub gives to the headings of a page: those of the same name are numbered. */
export function anchorsOf(text: string): ReadonlySet<string> {
  const seen = new Map<string, number>();
  const anchors = sectionsOf(text).map(({ title }) => {
    const anchor = title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\p{M}_\- ]/gu, '')
      .replaceAll(' ', '-');
    const times = seen.get(anchor) ?? 0;
    seen.set(anchor, times + 1);
    return times === 0 ? anchor : `${anchor}-${times}`;
  });
  return new Set(anchors.filter((anchor) => anchor !== ''));
}

/** What people have written of a page, and no program. */
export function handwrittenOf(text: string): string {
  return text.replaceAll(/<!-- ([\w-]+):start -->[\s\S]*?<!-- \1:end -->/g, '');
}

/** A page without what is generated and without blocks of code, on one line. */
export function proseOf(text: string): string {
  return handwrittenOf(text)
    .replaceAll(/```[\s\S]*?```/g, '')
    .replaceAll(/\s+/g, ' ');
}
