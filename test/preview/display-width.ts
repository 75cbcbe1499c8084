const ESCAPE = String.fromCharCode(27);
const STYLE_SEQUENCE = new RegExp(`${ESCAPE}\\[\\d+m`, 'g');
const STYLE_SEQUENCES = new RegExp(`(${ESCAPE}\\[\\d+m)`);
const CLOSING = /\[(?:0|22|39)m$/u;
const RESET = `${ESCAPE}[0m`;
const WIDE =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/u;
const NO_WIDTH = /\p{Mn}|\p{Me}|\p{Cf}/u;

/** Columns that a text takes in a terminal, style sequences not counted. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const { segment } of new Intl.Segmenter('en').segment(text.replace(STYLE_SEQUENCE, ''))) {
    width += segmentWidth(segment);
  }
  return width;
}

/** Breaks a text into lines of at most `width` columns, at spaces where there are any. */
export function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => wrapLine(line, width));
}

function wrapLine(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ').flatMap((each) => pieces(each, width))) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && displayWidth(longer) > width) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line];
}

/** Cuts a word that is too long for a line; a style that is open at the cut is closed and opened again. */
function pieces(word: string, width: number): string[] {
  if (displayWidth(word) <= width) return [word];
  const parts: string[] = [];
  let part = '';
  let style = '';
  for (const unit of word.split(STYLE_SEQUENCES).flatMap(unitsOf)) {
    const isStyle = unit.startsWith(ESCAPE);
    if (!isStyle && displayWidth(part) + displayWidth(unit) > width && displayWidth(part) > 0) {
      parts.push(style === '' ? part : part + RESET);
      part = style;
    }
    if (isStyle) style = CLOSING.test(unit) ? '' : style + unit;
    part += unit;
  }
  return [...parts, part];
}

function unitsOf(text: string): string[] {
  if (text.startsWith(ESCAPE)) return [text];
  return Array.from(new Intl.Segmenter('en').segment(text), ({ segment }) => segment);
}

function segmentWidth(segment: string): number {
  if (segment.includes('\ufe0f') || WIDE.test(segment)) return 2;
  return NO_WIDTH.test(segment) && segment.length === 1 ? 0 : 1;
}
