import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { generatedFiles } from '../../scripts/docs.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

test.each(generatedFiles())('$file is what the sources say; if not: npm run docs', ({ file, render }) => {
  expect(readFileSync(path.join(ROOT, file), 'utf8')).toBe(render());
});
