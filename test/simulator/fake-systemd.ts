import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The tools of systemd as the agent calls them, and a boot. */
export type FakeSystemd = {
  /** For the front of PATH. */
  readonly bin: string;
  /** The units that a boot would start. */
  enabled(): readonly string[];
  /** Starts what is enabled, as systemd would, and waits for each to end. */
  boot(): void;
};

/** Makes the tools in a folder; units that are started run as processes of their own. */
export function makeFakeSystemd(directory: string): FakeSystemd {
  const bin = join(directory, 'bin');
  const units = join(directory, 'etc/systemd/system');
  const wants = join(directory, 'wants');
  for (const folder of [bin, units, wants]) mkdirSync(folder, { recursive: true });
  tool(join(bin, 'systemctl'), [
    '[ "$1" = --quiet ] && shift',
    'case "$1" in',
    '  is-system-running) echo running ;;',
    `  show) echo "UnitPath=/run/systemd/system ${units} /usr/lib/systemd/system" ;;`,
    `  enable) [ -f "${units}/$2" ] && touch "${wants}/$2" ;;`,
    `  disable) [ -f "${units}/$2" ] && rm "${wants}/$2" ;;`,
    '  *) exit 1 ;;',
    'esac',
  ]);
  tool(join(bin, 'systemd-run'), [
    'while true; do case "$1" in --*) shift ;; *) break ;; esac; done',
    'setsid "$@" </dev/null >/dev/null 2>&1 &',
  ]);
  return {
    bin,
    enabled: () => readdirSync(wants),
    boot: () => {
      for (const name of readdirSync(wants)) {
        const command = /^ExecStart=(.*)$/m.exec(readFileSync(join(units, name), 'utf8'))?.[1];
        if (command === undefined) throw new Error(`${name} starts nothing`);
        const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
        const { status, stderr } = spawnSync('/bin/sh', ['-c', command], { env, encoding: 'utf8' });
        if (status !== 0) throw new Error(`${name} failed: ${stderr}`);
      }
    },
  };
}

function tool(path: string, lines: readonly string[]): void {
  writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
}
