import { defineConfig } from 'vitest/config';
import { FileOrder } from './test/file-order.ts';

export default defineConfig({
  // The language service of the workflow tests ships source maps that point nowhere.
  logLevel: 'error',
  test: {
    include: ['test/**/*.test.ts', 'test/**/*.scenario.ts'],
    setupFiles: ['test/setup.ts'],
    // Real servers and child processes on small machines, and much waiting for them: more files at a time than cores,
    // in an order that mixes those that wait with those that compute; generous limits, no retries.
    maxWorkers: 5,
    sequence: { sequencer: FileOrder },
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // These packages import JSON and extensionless files in a way that Node alone refuses.
    server: { deps: { inline: [/@actions\/(languageservice|workflow-parser|expressions)/] } },
  },
});
