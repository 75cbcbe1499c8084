import * as core from '@actions/core';
import { systemClock } from '../core/clock.ts';
import { MigrationError } from '../core/errors.ts';
import { VERSION } from '../core/version.ts';
import { agentBundlePath } from './host/agent-bundle.ts';
import { runAction } from './run.ts';
import { logLine } from './summary/foreign-text.ts';
import { openWorld } from './world.ts';

const LOG_CHARACTERS_MAX = 2000;

// The runner sends SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL: the first one must do.
const cancelling = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    cancelling.abort(new MigrationError('cancelled', `The run was cancelled (${name}).`));
  });
}

const runner = {
  clock: systemClock,
  signal: cancelling.signal,
  // One line, without control characters: what AWS or a server says must not become a command of the runner.
  log: (message: string) => core.info(logLine(message, LOG_CHARACTERS_MAX)),
};
const ANNOTATE = { error: core.error, warning: core.warning, notice: core.notice };
const failure = await runAction({
  ...runner,
  readInput: (name) => core.getInput(name),
  region: process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION,
  temporaryDirectory: process.env.RUNNER_TEMP,
  annotate: ({ level, title, message }) => ANNOTATE[level](message, { title }),
  setOutput: (name, value) => core.setOutput(name, value),
  writeSummary: async (markdown) => {
    if (process.env.GITHUB_STEP_SUMMARY) await core.summary.addRaw(markdown).write();
  },
  openWorld: (inputs) =>
    openWorld(inputs, {
      ...runner,
      version: VERSION,
      repository: process.env.GITHUB_REPOSITORY ?? 'local',
      runId: process.env.GITHUB_RUN_ID,
      githubApiUrl: process.env.GITHUB_API_URL ?? 'https://api.github.com',
      agentPath: agentBundlePath(),
      nodePath: process.execPath,
      environment: process.env,
      mask: (value) => {
        if (value !== '') core.setSecret(value);
      },
    }),
});
// The annotations have told it already; setFailed would do so again.
if (failure !== undefined) process.exitCode = core.ExitCode.Failure;
