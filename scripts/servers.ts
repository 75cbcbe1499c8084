import { provideServers } from '../test/servers/catalogue.ts';
import { compareVersions } from '../test/servers/server-binary.ts';

// npm run servers: fetches the servers that tests and demo need, then prints those at hand.
try {
  const servers = await provideServers((line) => process.stderr.write(`servers: ${line}\n`));
  const ordered = [...servers].sort(
    (a, b) => a.kind.localeCompare(b.kind) || compareVersions(a.version, b.version),
  );
  for (const { kind, version, command } of ordered) {
    process.stdout.write(`${kind.padEnd(8)}${version.padEnd(10)}${command.at(-1)}\n`);
  }
} catch (error) {
  process.stderr.write(`servers: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
