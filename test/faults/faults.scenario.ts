import { expect, it } from 'vitest';
import { sourceServer, targetServer } from '../servers/start.ts';
import { runFaults } from './fault-run.ts';

const FAULTS = 8;
/** Chosen so that the agent, both connections and both servers are struck. */
const SEED = 2;

it('loses and doubles nothing, whatever strikes the built agent and its servers under load', async () => {
  const servers = { source: await sourceServer(), target: await targetServer() };
  const printed: string[] = [];
  const { struck, ownEnds } = await runFaults({ ...servers, faults: FAULTS, seed: SEED }, (line) =>
    printed.push(line),
  );
  expect(struck.length).toBeGreaterThanOrEqual(FAULTS);
  expect(ownEnds.filter((end) => end.endsWith('while streaming'))).toEqual([]);
}, 180_000);
