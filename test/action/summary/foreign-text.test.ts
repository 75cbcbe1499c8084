import { expect, it } from 'vitest';
import { logLine } from '../../../src/action/summary/foreign-text.ts';
import { HOSTILE_TEXTS } from './hostile-texts.ts';

it('a line of the log is a command of the runner neither in the new way nor in the old one', () => {
  for (const text of HOSTILE_TEXTS.flatMap((each) => [each, ` ${each}`, `We said: ${each}`])) {
    const line = logLine(text, 2000);
    expect(line.trimStart().startsWith('::')).toBe(false);
    expect(line).not.toContain('##[');
    expect(line.split(/[\r\n\u2028\u2029]/u)).toHaveLength(1);
  }
  expect(logLine('::stop-commands::x', 100)).toBe(': :stop-commands::x');
  expect(logLine('a ##[add-mask]b', 100)).toBe('a ## [add-mask]b');
  expect(logLine('redis::cache is 50 % full', 100)).toBe('redis::cache is 50 % full');
});
