import { sourceServer, targetServer } from '../servers/start.ts';
import { runFaults } from './fault-run.ts';

/** `only`: the beginning of the names of the faults to choose from. */
export type FaultSeries = { readonly faults: number; readonly seed: number; readonly only: string };

/** New servers now and then, so that a run does not live on what an earlier fault has left. */
const FAULTS_PER_RUN = 25;

/** Runs many faults, the seed of each run counted up from the first; throws on the first loss. */
export async function runFaultSeries(
  { faults, seed, only }: FaultSeries,
  print: (line: string) => void,
): Promise<void> {
  const servers = { source: await sourceServer(), target: await targetServer() };
  const struck = new Map<string, number>();
  const ownEnds: string[] = [];
  for (let done = 0; done < faults; done += FAULTS_PER_RUN) {
    const run = {
      ...servers,
      faults: Math.min(FAULTS_PER_RUN, faults - done),
      seed: seed + done / FAULTS_PER_RUN,
      only,
    };
    const report = await runFaults(run, print);
    for (const name of report.struck) struck.set(name, (struck.get(name) ?? 0) + 1);
    ownEnds.push(...report.ownEnds);
  }
  for (const [name, count] of [...struck].sort()) print(`${String(count).padStart(6)}  ${name}`);
  print(`the agent ended by itself ${ownEnds.length} times: ${ownEnds.join(', ')}`);
  const streaming = ownEnds.filter((end) => end.endsWith('while streaming'));
  if (streaming.length > 0) throw new Error(`it ended while it was streaming: ${streaming.join(', ')}`);
}
