/** How long the simulated AWS takes over things, in milliseconds; real AWS takes seconds to minutes. */
export type Timing = {
  /** GetCommandInvocation answers InvocationDoesNotExist for so long after SendCommand. */
  invocationHiddenMs: number;
  /** From SendCommand until the instance's agent starts the script. */
  deliveryMs: number;
  /** One second of TimeoutSeconds and executionTimeout. */
  timeoutSecondMs: number;
  /** A group stays `modifying` for so long after StartMigration. */
  modifyingMs: number;
  /** How often the group looks at the replication link of its node. */
  pollMs: number;
  /** A node that has no link to the source after so long counts as a failed attempt. */
  linkTimeoutMs: number;
  /** Attempts to become a replica before the group gives up and promotes itself. */
  linkAttempts: number;
  /** From TestMigration to the event with its result. */
  testMigrationMs: number;
  /** From CompleteMigration to the check of synchrony and the promotion. */
  completingMs: number;
  /** How long CompleteMigration waits for the node to reach the source's offset before it calls it out of sync. */
  syncCheckMs: number;
  /** A snapshot stays `creating` at least for so long. */
  snapshotMs: number;
  /** From ModifyCacheParameterGroup until the nodes have the parameter. */
  applyingMs: number;
};

/** The pace of the tests: every state can be seen by a client that polls, none lasts. */
export const DEFAULT_TIMING: Timing = {
  invocationHiddenMs: 40,
  deliveryMs: 20,
  timeoutSecondMs: 1000,
  modifyingMs: 100,
  pollMs: 50,
  // A source with diskless replication waits five seconds before it begins.
  linkTimeoutMs: 6000,
  linkAttempts: 3,
  testMigrationMs: 50,
  completingMs: 100,
  syncCheckMs: 1000,
  snapshotMs: 100,
  applyingMs: 300,
};
