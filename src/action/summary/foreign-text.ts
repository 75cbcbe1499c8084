/** The most characters of one foreign text in running words; the rest is in the JSON report. */
export const PROSE_CHARACTERS_MAX = 1000;
/** The most characters of one foreign name, such as a key. */
export const NAME_CHARACTERS_MAX = 200;

/** Stands inside a word that GitHub would otherwise turn into a link, a mention or an emoji. */
const BREAK = '\u200b';
const ANSI_SEQUENCE = new RegExp(`${String.fromCharCode(27)}\\[[0-?]*[ -/]*[@-~]`, 'g');
/** Control characters, bidi and zero-width characters, tags, half surrogates, line and paragraph separators. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
/** Schemes, `www.`, mail addresses and mentions, issue numbers, emoji names, and `::command::` of workflows. */
const LIVE =
  /:(?=\/\/)|(?<=www)(?=\.)|@(?=[\w-])|#(?=\d)|GH(?=-\d)|:(?=:)|:(?=[\w+-]{0,40}[a-z+-][\w+-]{0,40}:)|##(?=\[)/giu;

/**
 * Foreign text as one line of plain words, for annotations and logs: no colour sequences, no line ends, every
 * character that cannot be seen written out as `\x00` or `\u{202e}`.
 */
export function plainLine(text: string, maxCharacters: number): string {
  const line = text
    .slice(0, maxCharacters * 4)
    .replace(ANSI_SEQUENCE, '')
    .replace(/\s+/gu, ' ');
  return shorten(printable(shorten(line, maxCharacters)), maxCharacters);
}

/**
 * The same as a line of the log, which the runner reads for commands: `::name::` at the beginning of a line, and the
 * older `##[name]` wherever it stands.
 *
 * Source: actions/runner, ActionCommand.
 */
export function logLine(text: string, maxCharacters: number): string {
  return plainLine(text, maxCharacters)
    .replace(/^(\s*:)(?=:)/u, '$1 ')
    .replaceAll('##[', '## [');
}

/**
 * Foreign text as Markdown that shows exactly its words, wherever in a paragraph, a cell or a list item it stands.
 *
 * Pipes and dollars are entities, because a backslash saves them neither in a table cell nor from GitHub's math.
 */
export function escapeProse(text: string, maxCharacters: number): string {
  return deaden(plainLine(text, maxCharacters))
    .replace(/[\\`*_[\]~]/gu, '\\$&')
    .replace(/[&<>|$]/gu, entity)
    .replace(/^( ?)([#+\-=])/u, '$1\\$2')
    .replace(/^( ?\d{1,9})([.)])(?=\s|$)/u, '$1\\$2');
}

/**
 * Foreign text as a code span that shows exactly its characters, those that cannot be seen written out.
 *
 * A span with a pipe is an HTML element, because `\|` in a code span of a table cell is read in two ways when a
 * backslash precedes it.
 */
export function escapeCode(text: string, maxCharacters: number): string {
  const shown = printable(shorten(text, maxCharacters)).replace(/##(?=\[)/gu, `$&${BREAK}`);
  if (shown === '') return '(empty)';
  if (shown.includes('|')) return `<code>${shown.replace(/[!-/:-@[-`{-~]/gu, entity)}</code>`;
  const runs = shown.match(/`+/gu) ?? [];
  const fence = '`'.repeat(Math.max(0, ...runs.map((run) => run.length)) + 1);
  const padding = /^[ `]|[ `]$/u.test(shown) && /[^ ]/u.test(shown) ? ' ' : '';
  return `${fence}${padding}${shown}${padding}${fence}`;
}

/** Foreign text for the inside of an HTML element of ours, where Markdown is not read. */
export function escapeHtml(text: string, maxCharacters: number): string {
  return deaden(plainLine(text, maxCharacters)).replace(/[&<>"'|$`*_[\]\\~]/gu, entity);
}

/** Cuts a text to at most `maxCharacters` UTF-16 units, with an ellipsis, never between two surrogates. */
export function shorten(text: string, maxCharacters: number): string {
  if (text.length <= maxCharacters) return text;
  return `${text.slice(0, maxCharacters - 1).replace(/[\uD800-\uDBFF]$/u, '')}…`;
}

function printable(text: string): string {
  return text.replace(INVISIBLE, (character) => {
    const named = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }[character];
    if (named !== undefined) return named;
    const code = (character.codePointAt(0) ?? 0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u{${code}}`;
  });
}

function deaden(text: string): string {
  return text.replace(LIVE, (live) => `${live}${BREAK}`);
}

function entity(character: string): string {
  return `&#${character.charCodeAt(0)};`;
}
