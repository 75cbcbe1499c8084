import { parseArgs } from 'node:util';
import { fuzz } from '../test/fuzz/fuzz.ts';

// npm run prove: the long forms of tests of which `npm test` runs a short one. Each prints the seed that repeats it.
const USAGE = `Usage: npm run prove -- fuzz [--inputs 100000] [--seed N]`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string' }, inputs: { type: 'string', default: '100000' } },
});
const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
const print = (line: string) => process.stdout.write(`${line}\n`);

try {
  switch (positionals[0]) {
    case 'fuzz':
      await fuzz({ inputs: Number(values.inputs), seed }, print);
      break;
    default:
      throw new Error(USAGE);
  }
  print('It holds.');
} catch (error) {
  print(error instanceof Error ? `${error.stack}` : String(error));
  process.exitCode = 1;
}
