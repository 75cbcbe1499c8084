import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Route } from '../contract/finding.ts';
import { CONTRACT_VERSION } from '../contract/version.ts';
import { assertNever } from '../core/assert.ts';
import type { Clock } from '../core/clock.ts';
import {
  errorText,
  isMigrationError,
  MigrationError,
  toErrorRecord,
  toMigrationError,
} from '../core/errors.ts';
import type { Host } from './host/host.ts';
import type { ReadInput } from './input-readers.ts';
import {
  type CommonInputs,
  type Inputs,
  PHASES,
  type Phase,
  parseInputs,
  reportDirectory,
} from './inputs.ts';
import type { Outputs } from './outputs.ts';
import { backup } from './phases/backup.ts';
import { cleanup } from './phases/cleanup.ts';
import { completeMigration } from './phases/complete-migration.ts';
import type { Found, World } from './phases/phase.ts';
import { preflight } from './phases/preflight.ts';
import { rollback } from './phases/rollback.ts';
import { startMigration } from './phases/start-migration.ts';
import { status } from './phases/status.ts';
import { verify } from './phases/verify.ts';
import type { Annotation } from './summary/annotations.ts';
import { annotationsOf } from './summary/annotations.ts';
import { renderSummary } from './summary/summary.ts';
import type { PhaseHead, PhaseView } from './summary/views.ts';

/** The runner as the action sees it. */
export type Runner = {
  readonly readInput: ReadInput;
  readonly region: string | undefined;
  readonly temporaryDirectory: string | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  log(message: string): void;
  annotate(annotation: Annotation): void;
  setOutput(name: string, value: string): void;
  writeSummary(markdown: string): Promise<void>;
  /** Opens the way to AWS and to the host for these inputs. */
  openWorld(inputs: Inputs): World & AsyncDisposable;
};

/**
 * Runs one phase: inputs, phase, then report, summary, annotations and outputs, whatever became of the phase.
 *
 * Returns the error with which the phase failed; undefined when it passed. Does not throw.
 */
export async function runAction(runner: Runner): Promise<MigrationError | undefined> {
  const startedAtMs = runner.clock.nowMs();
  const gathered = gather();
  let inputs: Inputs | undefined;
  let failure: MigrationError | undefined;
  try {
    inputs = parseInputs(runner.readInput, runner);
    await using world = runner.openWorld(inputs);
    await runPhase(inputs, withHostName(world, gathered), gathered.found);
  } catch (error) {
    // What a cancelled run breaks off has no name of its own; an error that has one is worth more than `cancelled`.
    const isBrokenOff = runner.signal.aborted && !isMigrationError(error);
    failure = toMigrationError(isBrokenOff ? runner.signal.reason : error);
  }
  const compose = () => composeView(runner, { startedAtMs, inputs, failure, gathered });
  try {
    await writeReport(runner, { view: compose(), inputs, outputs: gathered.outputs });
  } catch (error) {
    // A full disk must not take the summary and the outputs with it, nor let the phase pass without its report.
    failure ??= unwritable(error);
  }
  try {
    await publish(runner, compose(), gathered.outputs);
  } catch (error) {
    failure ??= unwritable(error);
  }
  return failure;
}

function unwritable(cause: unknown): MigrationError {
  return new MigrationError('report-unwritable', `The report could not be written: ${errorText(cause)}`, {
    cause,
  });
}

type Gathered = {
  readonly parts: Record<string, unknown>;
  readonly outputs: Outputs;
  readonly warnings: string[];
  head: { route?: Route; host: string };
  readonly found: Found<Phase>;
};

/** Keeps what the phase finds, so that it is there when the phase throws. */
function gather(): Gathered {
  const gathered: Gathered = {
    parts: {},
    outputs: {},
    warnings: [],
    head: { host: 'not reached' },
    found: {
      part: (parts) => Object.assign(gathered.parts, parts),
      outputs: (outputs) => Object.assign(gathered.outputs, outputs),
      route: (route) => {
        gathered.head.route = route;
      },
      warn: (text) => gathered.warnings.push(text),
    },
  };
  return gathered;
}

function withHostName(world: World, gathered: Gathered): World {
  return {
    ...world,
    openHost: async (inputs: CommonInputs): Promise<Host> => {
      const host = await world.openHost(inputs);
      gathered.head.host = host.description;
      return host;
    },
  };
}

function runPhase(inputs: Inputs, world: World, found: Found<Phase>): Promise<void> {
  switch (inputs.phase) {
    case 'preflight':
      return preflight(inputs, world, found);
    case 'backup':
      return backup(inputs, world, found);
    case 'start-migration':
      return startMigration(inputs, world, found);
    case 'status':
      return status(inputs, world, found);
    case 'verify':
      return verify(inputs, world, found);
    case 'complete-migration':
      return completeMigration(inputs, world, found);
    case 'rollback':
      return rollback(inputs, world, found);
    case 'cleanup':
      return cleanup(inputs, world, found);
    default:
      return assertNever(inputs);
  }
}

function composeView(
  runner: Runner,
  {
    startedAtMs,
    inputs,
    failure,
    gathered,
  }: {
    startedAtMs: number;
    inputs: Inputs | undefined;
    failure: MigrationError | undefined;
    gathered: Gathered;
  },
): PhaseView {
  const replicationGroupId = inputs?.replicationGroupId ?? runner.readInput('replication-group-id');
  const head: PhaseHead = {
    migrationId: inputs?.migrationId ?? (runner.readInput('migration-id') || replicationGroupId),
    replicationGroupId,
    result: failure === undefined ? 'passed' : 'failed',
    startedAtMs,
    finishedAtMs: runner.clock.nowMs(),
    warnings: gathered.warnings,
    ...gathered.head,
    ...(failure === undefined ? {} : { error: toErrorRecord(failure) }),
  };
  // An input that names no phase fails before any phase: its summary is that of the first one.
  const phase = PHASES.find((name) => name === runner.readInput('phase')) ?? 'preflight';
  return { phase, ...head, ...gathered.parts };
}

/** Writes the JSON report and the Markdown summary, and notes where. */
async function writeReport(
  runner: Runner,
  { view, inputs, outputs }: { view: PhaseView; inputs: Inputs | undefined; outputs: Outputs },
): Promise<void> {
  const directory = inputs?.reportDirectory ?? reportDirectory(runner.readInput, runner);
  const base = join(
    directory,
    `${view.phase}-${new Date(view.startedAtMs).toISOString().replace(/\D/g, '')}`,
  );
  const paths: Outputs = { 'report-path': `${base}.json`, 'summary-path': `${base}.md` };
  const report = {
    contractVersion: CONTRACT_VERSION,
    ...view,
    outputs: { ...outputs, ...resultOutputs(view), ...paths },
  };
  await mkdir(directory, { recursive: true });
  await writeFile(`${base}.json`, `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(`${base}.md`, renderSummary(view));
  Object.assign(outputs, paths);
}

async function publish(runner: Runner, view: PhaseView, outputs: Outputs): Promise<void> {
  for (const annotation of annotationsOf(view)) runner.annotate(annotation);
  for (const [name, value] of Object.entries({ ...outputs, ...resultOutputs(view) })) {
    runner.setOutput(name, value);
  }
  await runner.writeSummary(renderSummary(view));
}

function resultOutputs(view: PhaseView): Outputs {
  return {
    result: view.result,
    'migration-id': view.migrationId,
    ...(view.error === undefined ? {} : { 'error-code': view.error.code }),
  };
}
