#!/usr/bin/env node
// Runs one of the project's scripts on a machine that has nothing but git, Node 18 or later, and npm:
//
//   node scripts/bootstrap.mjs [--servers] <script.ts | tool> [arguments]
//
// It installs the dependencies when they are missing or older than the lockfile, fetches real servers when
// `--servers` asks for them, and then runs the script, or a tool of node_modules/.bin, on Node 24, which is the
// runtime of the action. Plain JavaScript without dependencies, because it runs before there is anything else.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const BIN = path.join(ROOT, 'node_modules', '.bin');
const NODE_MAJOR = 24;

await main();

async function main() {
  const args = process.argv.slice(2);
  const wantsServers = args[0] === '--servers';
  const [target, ...rest] = wantsServers ? args.slice(1) : args;
  if (target === undefined)
    fail('Usage: node scripts/bootstrap.mjs [--servers] <script.ts | tool> [arguments]');

  if (!areDependenciesFresh()) {
    say('installing the dependencies of the lockfile: npm ci');
    const code = await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
    if (code !== 0)
      fail(`npm ci ended with ${code}. Check that the npm registry can be reached, then try again.`);
  }
  const node = findNode();
  if (wantsServers) {
    say('making sure that real Redis and Valkey servers are at hand');
    const code = await run(node, ['scripts/servers.ts']);
    if (code !== 0) fail('the servers could not be had; the line above says why.');
  }
  process.exitCode = await run(node, [target.endsWith('.ts') ? target : path.join(BIN, target), ...rest]);
}

/** npm writes its own lockfile last of all, so an interrupted installation does not count. */
function areDependenciesFresh() {
  const installed = path.join(ROOT, 'node_modules', '.package-lock.json');
  return (
    existsSync(installed) &&
    statSync(installed).mtimeMs >= statSync(path.join(ROOT, 'package-lock.json')).mtimeMs
  );
}

/** The Node of the optional dependencies where it runs (it needs glibc), else the one that runs this script. */
function findNode() {
  const installed = path.join(BIN, 'node');
  const version = spawnSync(installed, ['--version'], { encoding: 'utf8' });
  if (version.status === 0 && version.stdout.startsWith(`v${NODE_MAJOR}.`)) return installed;
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return process.execPath;
  return fail(
    `Node ${NODE_MAJOR} is needed, this is ${process.version}, and the package of Node ${NODE_MAJOR} does not run ` +
      `on ${process.platform} ${process.arch}. Install Node ${NODE_MAJOR} and try again.`,
  );
}

/** Runs a command in the root of the repository and returns its exit code; Ctrl-C is left to the command. */
function run(command, args) {
  const env = { ...process.env, PATH: `${BIN}${path.delimiter}${process.env.PATH ?? ''}` };
  const child = spawn(command, args, { cwd: ROOT, env, stdio: 'inherit' });
  // A terminal sends SIGINT to the whole group; whoever sends a signal to this process alone means the command.
  const forward = (signal) => child.kill(signal);
  const ignore = () => undefined;
  process.on('SIGTERM', forward).on('SIGINT', process.stdin.isTTY ? ignore : forward);
  return new Promise((resolve) => {
    const done = (code) => {
      process
        .removeListener('SIGTERM', forward)
        .removeListener('SIGINT', forward)
        .removeListener('SIGINT', ignore);
      resolve(code);
    };
    child.once('error', (error) => {
      say(`cannot run ${command}: ${error.message}`);
      done(127);
    });
    child.once('exit', (code) => done(code ?? 1));
  });
}

function say(line) {
  process.stderr.write(`bootstrap: ${line}\n`);
}

function fail(line) {
  say(line);
  process.exit(1);
}
