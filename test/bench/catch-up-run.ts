import process from 'node:process';
import { type BoutFigures, type BoutOptions, holdBout } from './bout.ts';
import { startCanary } from './canary.ts';
import { type Load, runLoad } from './load-generator.ts';
import type { CatchUpRun } from './report.ts';

/**
 * Measures how fast a contestant applies the stream when nothing else wants the machine: it is suspended while the
 * source is written to, so that all of it waits in the source's buffer, and then goes on.
 */
export function runCatchUp(
  load: Load,
  options: Omit<BoutOptions, 'purpose' | 'data'>,
): Promise<Omit<CatchUpRun, 'contestant' | 'round' | 'attempts'> & BoutFigures> {
  return holdBout({ ...options, purpose: 'follow' }, async (bout) => {
    const { pair, attachment, signal } = bout;
    await using canary = startCanary(pair, signal);
    await canary.passed();
    await canary.rest();
    await canary.passed();
    // Where the target does the work itself, it is the one that is late.
    const worker = attachment.toolPid ?? pair.target.pid;
    process.kill(worker, 'SIGSTOP');
    await runLoad(pair.source, load, bout);
    await bout.begin();
    const passed = canary.passed();
    process.kill(worker, 'SIGCONT');
    const catchUpMs = await passed;
    const commands = load.count * load.commands.length;
    return { commands, catchUpMs, appliedPerSecond: commands / (catchUpMs / 1000) };
  });
}
