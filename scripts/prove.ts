import { parseArgs } from 'node:util';
import { proveCutovers } from '../test/cutovers/cutovers.ts';
import { proveDelta } from '../test/delta/delta.ts';
import { runFaultSeries } from '../test/faults/fault-series.ts';
import { fuzz } from '../test/fuzz/fuzz.ts';
import { proveHostileTexts } from '../test/hostile/hostile.ts';
import { measureManyDifferences } from '../test/many-differences/many-differences.ts';
import { runMatrix } from '../test/matrix/matrix.ts';
import { measureMemory } from '../test/memory/memory.ts';
import { proveVerification } from '../test/verification/verification.ts';
import { proveWayBack } from '../test/way-back/way-back.ts';

// npm run prove: the long forms of tests of which `npm test` runs a short one. Each prints the seed that repeats it.
const USAGE = `Usage: npm run prove -- WHAT

  fuzz   [--inputs 100000] [--seed N]       damaged input for every reader
  matrix [--servers PATH,...] [--only NAME] migrations from every server at hand to every Valkey at hand
  faults [--faults 200] [--seed N] [--only NAME] one fault after the other while a source is written to
  cutovers [--cutovers 100] [--keys 1000000]    one after the other under 20 writers, 20,000 writes/s
  way-back [--keys 1000000] [--writes 100000] [--seed N] back after a cutover, under writes of every type
  memory [--only NAME]                      what the agent has resident with the largest values
  delta  [--keys 2000000] [--touched 10000]     what a delta verification of the touched ones takes
  hostile [--screenshots DIRECTORY]         hostile texts in every summary, shown in a Chromium of this machine
  differences [--differences 1000000]       a verification that finds so many, and its report
  verify [--servers PATH,...] [--only NAME] [--verifications 50] what verification finds, and what it must not`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string' },
    inputs: { type: 'string', default: '100000' },
    servers: { type: 'string', default: '' },
    faults: { type: 'string', default: '200' },
    differences: { type: 'string', default: '1000000' },
    screenshots: { type: 'string', default: '' },
    only: { type: 'string', default: '' },
    cutovers: { type: 'string', default: '100' },
    keys: { type: 'string' },
    touched: { type: 'string', default: '10000' },
    writes: { type: 'string', default: '100000' },
    verifications: { type: 'string', default: '50' },
  },
});
const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
const print = (line: string) => process.stdout.write(`${line}\n`);

try {
  switch (positionals[0]) {
    case 'fuzz':
      await fuzz({ inputs: Number(values.inputs), seed }, print);
      break;
    case 'matrix':
      await runMatrix({ programs: values.servers.split(',').filter(Boolean), only: values.only }, print);
      break;
    case 'faults':
      await runFaultSeries({ faults: Number(values.faults), seed, only: values.only }, print);
      break;
    case 'cutovers':
      await proveCutovers(
        { cutovers: Number(values.cutovers), keys: Number(values.keys ?? 1_000_000) },
        print,
      );
      break;
    case 'delta':
      await proveDelta({ keys: Number(values.keys ?? 2_000_000), touched: Number(values.touched) }, print);
      break;
    case 'way-back':
      await proveWayBack(
        { keys: Number(values.keys ?? 1_000_000), writes: Number(values.writes), seed },
        print,
      );
      break;
    case 'memory':
      await measureMemory({ only: values.only }, print);
      break;
    case 'differences':
      await measureManyDifferences({ differences: Number(values.differences) }, print);
      break;
    case 'hostile':
      await proveHostileTexts({ screenshots: values.screenshots }, print);
      break;
    case 'verify': {
      const programs = values.servers.split(',').filter(Boolean);
      const verifications = Number(values.verifications);
      await proveVerification({ programs, only: values.only, verifications }, print);
      break;
    }
    default:
      throw new Error(USAGE);
  }
  print('It holds.');
  // At once: a client of a server that was killed may go on trying to reach it.
  process.exit(0);
} catch (error) {
  print(error instanceof Error ? `${error.stack}` : String(error));
  if (error instanceof Error && error.cause !== undefined) print(`because of ${error.cause}`);
  process.exit(1);
}
