import { assert } from '../../core/assert.ts';

/** A shell script for the host: constant text behind assignments of checked values. */
export type Script = { readonly text: string };

/**
 * A value on its way into a script: `base64` for anything that somebody else chose, `token` for names and numbers
 * of our own.
 */
export type ScriptValue = { readonly base64: string } | { readonly token: string };

/**
 * Builds a script. No value is ever part of a shell line: the body is constant, and the values stand before it as
 * `name='value'`, in alphabets that hold no quote and no character that a shell or an SSM document interprets.
 */
export function buildScript(
  body: string,
  values: Readonly<Record<string, ScriptValue>> | ScriptValues,
): Script {
  const assignments = Object.entries(values).map(([name, value]) => {
    assert(/^[a-z][a-z0-9_]*$/.test(name), `script value ${name} has a name that is no shell name`);
    return `${name}='${checkedText(name, value)}'`;
  });
  const text = ['#!/bin/sh', 'set -eu', 'umask 077', ...assignments, body.trim(), ''].join('\n');
  assert(!/\{\{|\}\}/.test(text), 'a script holds braces that Systems Manager would interpret');
  return { text };
}

/** Text in base64, as a value of a script. */
export function base64Value(text: string | Buffer): ScriptValue {
  return { base64: Buffer.from(text).toString('base64') };
}

function checkedText(name: string, value: ScriptValue): string {
  if ('base64' in value) {
    assert(/^[A-Za-z0-9+/]*={0,2}$/.test(value.base64), `script value ${name} is not base64`);
    return value.base64;
  }
  assert(/^[A-Za-z0-9._-]+$/.test(value.token), `script value ${name} is not a token`);
  return value.token;
}

/** Sets `state_directory`; the x keeps newlines at the end, which a command substitution would eat. */
const READ_STATE_DIRECTORY = `
state_directory="$(printf %s "$state_directory_base64" | base64 -d; printf x)"
state_directory="\${state_directory%x}"`;

/**
 * Sets `node` and `node_version` to the first Node.js of version 20 or later on the PATH, or leaves them empty.
 *
 * The SSM agent's PATH has /usr/local/bin and /usr/bin, where packages put it; Amazon Linux installs versions side by
 * side as node-24, node-22, node-20, and `node` may be an older one.
 */
const FIND_NODE = `
node=''
node_version=''
for candidate in node node-24 node-22 node-20 nodejs; do
  path="$(command -v "$candidate" 2>/dev/null)" || continue
  version="$("$path" -p process.versions.node 2>/dev/null)" || continue
  major="\${version%%.*}"
  case "$major" in '' | *[!0-9]*) continue ;; esac
  found_versions="\${found_versions:-}\${found_versions:+, }$version"
  if [ "$major" -ge 20 ]; then
    node="$path"
    node_version="$version"
    break
  fi
done`;

/** Keeps where it was found, for the calls: each would have to start every candidate to look again. */
const KEEP_NODE = `
if [ -n "$node" ]; then printf %s "$node" > "$state_directory/agent/node"; else rm -f -- "$state_directory/agent/node"; fi`;

/** Prints the Node.js that was found as `key=value` lines. */
const PRINT_NODE = `
printf 'node_version=%s\\n' "$node_version"
printf 'found_versions=%s\\n' "\${found_versions:-}"`;

/**
 * Looks at the host: state directory, Node.js, agent. Prints `key=value` lines and changes nothing but the state
 * directory, which it makes.
 *
 * A directory that belongs to somebody else is refused: what lies in it is run, as root.
 */
const PROBE = `${READ_STATE_DIRECTORY}
state=ok
if ! reason="$(mkdir -p -- "$state_directory/agent" 2>&1)"; then
  state=unwritable
elif [ ! -O "$state_directory" ] || [ ! -O "$state_directory/agent" ]; then
  state=unwritable
  reason='it belongs to another user'
elif ! reason="$(touch -- "$state_directory/agent/.probe" 2>&1 && rm -f -- "$state_directory/agent/.probe" 2>&1)"; then
  state=unwritable
fi
printf 'state=%s\\n' "$state"
printf 'reason_base64=%s\\n' "$(printf %s "$reason" | head -c 500 | base64 | tr -d '\\n')"
${FIND_NODE}
if [ "$state" = ok ]; then${KEEP_NODE}
fi
${PRINT_NODE}
agent="$state_directory/agent/$agent_sha256/index.mjs"
agent_found=no
if [ -f "$agent" ] && [ "$(sha256sum < "$agent" | cut -d ' ' -f 1)" = "$agent_sha256" ]; then agent_found=yes; fi
printf 'agent_found=%s\\n' "$agent_found"
`;

/**
 * Installs Node.js with the package manager of the host and prints what is there afterwards.
 *
 * Amazon Linux 2023 has nodejs24, nodejs22 and nodejs20 side by side, RHEL has module streams, Debian and Ubuntu
 * have one package. What the package manager says goes to stderr.
 */
const INSTALL_NODE = `${READ_STATE_DIRECTORY}
installed=no
if [ "$(id -u)" -ne 0 ]; then
  echo 'Installing needs root.' >&2
elif command -v dnf >/dev/null 2>&1; then
  for package in nodejs24 nodejs22 nodejs20; do
    if dnf -y install "$package" >&2; then installed=yes; break; fi
  done
  if [ "$installed" = no ] && dnf -y module install nodejs:22 >&2; then installed=yes; fi
  if [ "$installed" = no ] && dnf -y install nodejs >&2; then installed=yes; fi
elif command -v yum >/dev/null 2>&1; then
  if yum -y install nodejs >&2; then installed=yes; fi
elif command -v apt-get >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update >&2 || true
  if apt-get install -y --no-install-recommends nodejs >&2; then installed=yes; fi
else
  echo 'There is no dnf, yum or apt-get.' >&2
fi
${FIND_NODE}
${KEEP_NODE}
${PRINT_NODE}
printf 'installed=%s\\n' "$installed"
`;

/**
 * Stores one part of the agent; with the last one puts it together, checks it and moves it to its place.
 *
 * The parts of one shipment lie in a folder of their own, so that two runs that ship at the same time do not mix
 * theirs. Repeating a part, or the last one after everything is in place, does no harm.
 */
const STORE_PART = `${READ_STATE_DIRECTORY}
directory="$state_directory/agent/$agent_sha256"
incoming="$state_directory/agent/.incoming-$shipment"
matches() { [ -f "$1" ] && [ "$(sha256sum < "$1" | cut -d ' ' -f 1)" = "$agent_sha256" ]; }
if matches "$directory/index.mjs"; then
  rm -rf -- "$incoming"
  echo stored
  exit 0
fi
mkdir -p -- "$incoming"
printf %s "$part_base64" | base64 -d > "$incoming/part-$part_number"
if [ "$part_number" != "$last_part_number" ]; then
  echo kept
  exit 0
fi
find "$state_directory/agent" -maxdepth 1 -name '.incoming-*' -mmin +1440 -exec rm -rf -- '{}' + 2>/dev/null || true
if cat "$incoming"/part-* | gzip -dc > "$incoming/index.mjs" && matches "$incoming/index.mjs"; then
  mkdir -p -- "$directory"
  mv -f -- "$incoming/index.mjs" "$directory/index.mjs"
  rm -rf -- "$incoming"
  echo stored
else
  rm -rf -- "$incoming"
  echo corrupt
fi
`;

/**
 * Hands one request to the agent on stdin; its answer is the output.
 *
 * What runs is chosen here and not by the caller: the Node.js that was found on the PATH, and an agent with the
 * checksum that it was shipped by. Through a document of one's own these calls are all that a role can do on the host.
 * `access` and `password_servers_base64`, which only such a document sets, say how far they reach, and which server may
 * be shown which password.
 */
const CALL_AGENT = `${READ_STATE_DIRECTORY}
node="$(cat -- "$state_directory/agent/node" 2>/dev/null)" || node=''
agent="$state_directory/agent/$agent_sha256/index.mjs"
if [ ! -x "$node" ]; then
  echo 'There is no Node.js of version 20 or later any more.' >&2
  exit 1
fi
if [ ! -f "$agent" ] || [ "$(sha256sum < "$agent" | cut -d ' ' -f 1)" != "$agent_sha256" ]; then
  echo 'The agent is not there any more, or not as it was shipped.' >&2
  exit 1
fi
cd -- "$state_directory"
printf %s "$request_base64" | base64 -d |
  "$node" "$agent" host --state-directory-base64 "$state_directory_base64" \${access:+--access "$access"} \${password_servers_base64:+--password-servers-base64 "$password_servers_base64"}
`;

/** Everything that is ever run on a host through Systems Manager, by name. */
export const OPERATIONS = {
  probe: PROBE,
  'install-node': INSTALL_NODE,
  'store-part': STORE_PART,
  'call-agent': CALL_AGENT,
} as const;
/** See {@link OPERATIONS}. */
export type Operation = keyof typeof OPERATIONS;

/** The values that the operations take. */
export const SCRIPT_VALUES = [
  'state_directory_base64',
  'agent_sha256',
  'shipment',
  'part_number',
  'last_part_number',
  'part_base64',
  'request_base64',
] as const;
/** Values of one operation, by name. */
export type ScriptValues = Readonly<Partial<Record<(typeof SCRIPT_VALUES)[number], ScriptValue>>>;

/** The script of an operation, for AWS-RunShellScript. */
export function operationScript(operation: Operation, values: ScriptValues): Script {
  return buildScript(OPERATIONS[operation], values);
}

/** The same for a document that has the operations in it: their parameters, named as the values in camel case. */
export function documentParameters(operation: Operation, values: ScriptValues): Record<string, string[]> {
  const given = Object.entries(values).map(([name, value]) => [
    documentParameterName(name),
    [checkedText(name, value)],
  ]);
  return { operation: [operation], ...Object.fromEntries(given) };
}

/** `agent_sha256` in a script is `agentSha256` in a document. */
export function documentParameterName(valueName: string): string {
  return valueName.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** Reads the `key=value` lines that a script printed. */
export function readScriptOutput(stdout: string): ReadonlyMap<string, string> {
  const lines = stdout.split('\n').filter((line) => line.includes('='));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}
