import { writeFile } from 'node:fs/promises';
import { runBench } from '../test/bench/bench.ts';
import { parseOptions, USAGE } from '../test/bench/options.ts';
import { benchReportSchema } from '../test/bench/report.ts';
import { renderReport } from '../test/bench/tables.ts';
import { hasFailed } from '../test/bench/verdicts.ts';

// npm run bench: measures the built agent against native replication, and against RedisShake where there is one.
// Progress goes to stderr, the tables to stdout. Exit status 0 unless a run failed or the data differed afterwards.

const stopping = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => stopping.abort(new Error(`stopped by ${name}`)));
}
try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2), process.env);
  if (options === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  const report = await runBench(options, {
    env: process.env,
    say: (line) => process.stderr.write(`bench: ${line}\n`),
    signal: stopping.signal,
  });
  if (options.json !== undefined)
    await writeFile(options.json, `${JSON.stringify(benchReportSchema.parse(report), undefined, 2)}\n`);
  process.stdout.write(renderReport(report));
  return hasFailed(report, options) ? 1 : 0;
}
