import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { CONTRACT_VERSION } from '../../src/contract/version.ts';

/** What a released version of the contract looks like: change both together, as the message below says. */
const PINNED = {
  version: 1,
  sha256: '8d216f22da6cc7a55c588a5f73ec321f1a9a7768fcaceec98ea6fb1a96d76cf3',
};

const PROCEDURE = `The schemas of src/contract are not those that version ${PINNED.version} is pinned to.
A host may still run a job that an older action started, so:
1. Raise CONTRACT_VERSION in src/contract/version.ts, unless the pinned version was never released.
2. Think through what an action of the one version says to an agent of the other: they must refuse each other with
   contract-mismatch, or understand each other.
3. Put the new version and the new hash, which this test shows, into PINNED in test/contract/version.test.ts.`;

const CONTRACT = path.resolve(import.meta.dirname, '../../src/contract');

test('what runner and host say to each other changes only together with its version', async () => {
  const actual = { version: CONTRACT_VERSION, sha256: hashOf(await contractSchemas()) };
  expect(actual, PROCEDURE).toEqual(PINNED);
});

test('the hash sees a change of any property', async () => {
  const schemas = await contractSchemas();
  expect(schemas.size).toBeGreaterThan(20);
  const [name = ''] = schemas.keys();
  for (const changed of [z.strictObject({ a: z.int() }), z.strictObject({ a: z.int().min(1) })])
    expect(hashOf(new Map([...schemas, [name, changed]]))).not.toBe(hashOf(schemas));
});

/** Every schema that a file of the contract exports, also those in a table, by file and name. */
async function contractSchemas(): Promise<Map<string, z.ZodType>> {
  const schemas = new Map<string, z.ZodType>();
  for (const file of readdirSync(CONTRACT).sort()) {
    const module: Record<string, unknown> = await import(path.join(CONTRACT, file));
    for (const [name, value] of Object.entries(module)) {
      const table = value instanceof z.ZodType ? { [name]: value } : value;
      if (typeof table !== 'object' || table === null) continue;
      for (const [key, schema] of Object.entries(table))
        if (schema instanceof z.ZodType) schemas.set(`${file} ${name} ${key}`, schema);
    }
  }
  return schemas;
}

function hashOf(schemas: Map<string, z.ZodType>): string {
  const documents = [...schemas]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, schema]) => [name, z.toJSONSchema(schema, { unrepresentable: 'any' })]);
  return createHash('sha256').update(JSON.stringify(documents)).digest('hex');
}
