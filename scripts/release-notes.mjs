#!/usr/bin/env node
// Prints what CHANGELOG.md says of a version: node scripts/release-notes.mjs vX.Y.Z
// Plain JavaScript without dependencies, because a release makes it before anything is installed.

import { readFileSync } from 'node:fs';
import process from 'node:process';

const version = (process.argv[2] ?? '').replace(/^v/, '');
const changelog = readFileSync(new URL('../CHANGELOG.md', import.meta.url), 'utf8');
const section = changelog
  .split(/^## /m)
  .find((part) => part.startsWith(`${version} `) || part.startsWith(`${version}\n`));
const notes = section?.slice(section.indexOf('\n')).trim() ?? '';
if (version === '' || notes === '') {
  process.stderr.write(`CHANGELOG.md says nothing of the version ${version || '(none given)'}.\n`);
  process.exit(1);
}
process.stdout.write(`${notes}\n`);
