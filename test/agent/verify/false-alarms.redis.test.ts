import { expect, it } from 'vitest';
import { findServer, sourceServer } from '../../servers/start.ts';
import { verifyMoving } from '../../verification/moving-pair.ts';

const VERIFICATIONS = 1;

it('finds nothing in a target that only lags, and what is planted among all that moves', async () => {
  const target = await findServer({ kind: 'valkey', version: 'newest' });
  const binaries = { source: await sourceServer(), target };
  const findings = await verifyMoving(binaries, { verifications: VERIFICATIONS });
  expect(findings.falseAlarms).toEqual([]);
  expect(findings.found).toEqual(findings.planted);
  expect(Math.max(...findings.lagsBytes)).toBeGreaterThan(0);
}, 240_000);
