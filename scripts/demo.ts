import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import {
  type DemoMigration,
  type DemoOutcome,
  ENVIRONMENT,
  migrate,
  type Stage,
} from '../test/demo/migration.ts';
import { renderTerminal } from '../test/preview/terminal.ts';
import { findServer, sourceServer, targetServer } from '../test/servers/start.ts';
import { startGithubStub } from '../test/simulator/github-stub.ts';
import { startSimulator } from '../test/simulator/start.ts';
import { ROOT } from './tool.ts';

// npm run demo: two live Redis servers move into Valkey through the built action, over simulated AWS, on real
// servers of this machine. `--interactive` asks at the gate.

const isInteractive = process.argv.includes('--interactive');
const colours = process.stdout.isTTY === true;
const startedAtMs = Date.now();
let decide: (isApproved: boolean) => void = () => {};
const decision = new Promise<boolean>((resolve) => {
  decide = resolve;
});
process.exitCode = await main().catch((error: unknown) => {
  print(`DEMO FAILED: ${error instanceof Error ? error.message : String(error)}`);
  return 1;
});

async function main(): Promise<number> {
  const reportDirectory = join(ROOT, 'demo-report');
  const target = await targetServer();
  const flagship: DemoMigration = {
    name: 'sessions',
    route: 'replica',
    source: await sourceServer(),
    target,
    keys: 200_000,
  };
  const older: DemoMigration = {
    name: 'catalogue',
    route: 'native',
    source: await findServer({ kind: 'redis', version: '7.0' }),
    target,
    keys: 30_000,
  };
  print(
    bold(
      '\nvalkey-migrate demo: two live Redis servers move into Valkey, phase by phase, on this machine.\n',
    ),
  );
  print(`1. ${describe(flagship)}: the agent carries the data itself.`);
  print(
    `2. ${describe(older)}: the online migration of ElastiCache serves; it runs beside the first and is shown after it.\n`,
  );
  await using simulator = await startSimulator();
  await using github = await startGithubStub({ [ENVIRONMENT]: 1 });
  const kept: string[] = [];
  try {
    // Both at once: the second is quiet until the first has been shown.
    const [first, second] = await Promise.all([
      migrate(flagship, { simulator, github, reportDirectory, stage: liveStage(flagship.name) }),
      migrate(older, { simulator, github, reportDirectory, stage: keptStage(older.name, kept) }),
    ]);
    for (const text of kept) print(text);
    return conclude(
      [
        { migration: flagship, outcome: first },
        { migration: older, outcome: second },
      ],
      reportDirectory,
    );
  } catch (error) {
    decide(false);
    for (const text of kept) print(text);
    print(bold(`\nDEMO FAILED: ${error instanceof Error ? error.message : String(error)}`));
    return 1;
  }
}

function describe({ name, source, target, route }: DemoMigration): string {
  return `${name}: ${source.kind} ${source.version} → ${target.kind} ${target.version} by route ${route}`;
}

function liveStage(name: string): Stage {
  return {
    say: (line) => print(bold(`[${name} ${elapsed()}] ${line}`)),
    log: (line) => {
      if (!line.startsWith('::')) print(dim(`[${name}]   ${line}`));
    },
    summary: (markdown, paths) => {
      print(`\n${renderTerminal(markdown, { colours, width: process.stdout.columns ?? 110 })}`);
      print(dim(`Kept as ${paths.join(' and ')}\n`));
    },
    approve: async (reportPath) => {
      const isApproved = await askReviewer(name, reportPath);
      decide(isApproved);
      return isApproved;
    },
  };
}

/** Shows only the steps and the last report of the migration that runs beside the first. */
function keptStage(name: string, kept: string[]): Stage {
  return {
    say: (line) => kept.push(bold(`[${name} ${elapsed()}] ${line}`)),
    log: () => {},
    summary: (markdown, paths) => {
      const [verdict] = renderTerminal(markdown, { colours, width: 110 })
        .split('\n')
        .filter((line) => line.trim() !== '')
        .slice(1);
      kept.push(`    ${verdict ?? ''}`, dim(`    ${paths.join(' and ')}`));
    },
    // One reviewer for both: what is declined for the first is not cut over for the second either.
    approve: () => decision,
  };
}

async function askReviewer(name: string, reportPath: string): Promise<boolean> {
  print(
    bold(`[${name}] The gate: in a workflow, a required reviewer of the environment now reads this report.`),
  );
  if (!isInteractive) {
    print(`[${name}] Approved automatically (run with --interactive to decide yourself).\n`);
    return true;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    // Without anybody to answer, nobody has approved.
    const closed = new Promise<string>((resolve) => terminal.once('close', () => resolve('')));
    const question = terminal.question(`Report: ${reportPath}\nApprove complete-migration? [y/N] `);
    return /^y(es)?$/i.test((await Promise.race([question, closed])).trim());
  } finally {
    terminal.close();
  }
}

function conclude(
  results: { migration: DemoMigration; outcome: DemoOutcome }[],
  reportDirectory: string,
): number {
  print(bold('\nResult'));
  for (const { migration, outcome } of results) {
    print(`  ${describe(migration)}`);
    print(
      `    ${outcome.phases} phases passed, ${outcome.keysCompared} keys proved equal, writes paused for ${outcome.writePauseMs} ms.`,
    );
    print(
      `    acknowledged writes: ${outcome.acknowledged}, refused by the fence and tried again: ${outcome.refused}`,
    );
    print(`    acknowledged writes lost: ${outcome.lost}, doubled: ${outcome.doubled}`);
  }
  const lost = results.reduce((sum, { outcome }) => sum + outcome.lost, 0);
  const doubled = results.reduce((sum, { outcome }) => sum + outcome.doubled, 0);
  const isWritten = results.every(({ outcome }) => outcome.acknowledged > 0);
  const isGood = lost === 0 && doubled === 0 && isWritten;
  print(`\nSummaries (Markdown and HTML): ${reportDirectory}`);
  print(
    bold(
      `${isGood ? 'DEMO PASSED' : 'DEMO FAILED'}: acknowledged writes lost: ${lost}, doubled: ${doubled}, in ${elapsed()}.`,
    ),
  );
  return isGood ? 0 : 1;
}

function elapsed(): string {
  return `${((Date.now() - startedAtMs) / 1000).toFixed(1)} s`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function bold(text: string): string {
  return colours ? `\u001b[1m${text}\u001b[0m` : text;
}

function dim(text: string): string {
  return colours ? `\u001b[2m${text}\u001b[0m` : text;
}
