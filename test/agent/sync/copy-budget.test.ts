import { expect, it } from 'vitest';
import { CopyBudget } from '../../../src/agent/sync/copy-budget.ts';
import { systemClock } from '../../../src/core/clock.ts';

const HOUR_MS = 60 * 60_000;

function startBudget() {
  let nowMs = 1_000;
  const copies = new CopyBudget({ ...systemClock, nowMs: () => nowMs });
  return {
    copies,
    pass: (durationMs: number) => {
      nowMs += durationMs;
    },
  };
}

it('allows three copies in a row, and again three once the target has caught up', () => {
  const { copies } = startBudget();
  for (let copy = 0; copy < 3; copy++) copies.begin();
  copies.caughtUp();
  for (let copy = 0; copy < 3; copy++) copies.begin();
  copies.reason = 'the output buffer was full';
  expect(() => copies.begin()).toThrow(
    expect.objectContaining({
      code: 'sync-lost',
      message: expect.stringMatching(/3 full copies in a row.*the output buffer was full/),
    }),
  );
});

it('bounds copies that are necessary again and again by the day', () => {
  const { copies, pass } = startBudget();
  for (let copy = 0; copy < 20; copy++) {
    copies.begin();
    copies.caughtUp();
    pass(HOUR_MS);
  }
  expect(() => copies.begin()).toThrow(expect.objectContaining({ code: 'sync-lost' }));
  pass(5 * HOUR_MS);
  copies.begin();
});
