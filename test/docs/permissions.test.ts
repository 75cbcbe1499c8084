import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { HOST_SECRETS } from '../../scripts/identity/permissions.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

test.each(['README.md', 'docs/permissions.md'])(
  '%s asks for exactly the permissions that the action uses',
  (page) => {
    const text = readFileSync(path.join(ROOT, page), 'utf8');
    const documented = [...text.matchAll(/\b(?:elasticache|ssm):([A-Z][a-z]\w+)/g)].map(
      ([, action]) => action ?? '',
    );
    const ofTheHost = HOST_SECRETS.map(({ action }) => action.split(':')[1] ?? '');
    expect(new Set(documented.filter((action) => !ofTheHost.includes(action)))).toEqual(calledActions());
  },
);

/** The AWS actions behind the commands of the SDK that the sources construct. */
function calledActions(): Set<string> {
  const files = readdirSync(path.join(ROOT, 'src/action'), { recursive: true, encoding: 'utf8' });
  const sources = files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(path.join(ROOT, 'src/action', file), 'utf8'));
  return new Set(
    sources.flatMap((text) => [...text.matchAll(/new (\w+)Command\(/g)].map(([, action]) => action ?? '')),
  );
}
