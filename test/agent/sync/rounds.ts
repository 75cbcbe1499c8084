/** Writers that go on until they are stopped. */
export type Rounds = {
  /** Resolves when they have done so many further rounds. */
  rounds(count: number): Promise<void>;
  /** Resolves when the last round is over. @throws what a writer failed with */
  stop(): Promise<void>;
};

/** Starts writers side by side that share the numbers of their rounds; each is told the number of its own. */
export function startRounds(writers: readonly ((round: number) => Promise<void>)[]): Rounds {
  const waiting = new Set<() => void>();
  let isStopping = false;
  let round = 0;
  const write = async (writeOnce: (round: number) => Promise<void>) => {
    while (!isStopping) {
      round += 1;
      await writeOnce(round);
      for (const check of waiting) check();
    }
  };
  const writing = Promise.all(writers.map(write));
  // Looked at by `stop`; a failure before that is not unhandled.
  writing.catch(() => {});
  return {
    rounds: (count) =>
      new Promise((resolve, reject) => {
        const goal = round + count;
        writing.catch(reject);
        const check = () => {
          if (round < goal) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
      }),
    stop: async () => {
      isStopping = true;
      await writing;
    },
  };
}
