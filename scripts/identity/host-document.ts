import { documentParameterName, OPERATIONS, SCRIPT_VALUES } from '../../src/action/host/scripts.ts';

import type { RoleName } from './permissions.ts';

/** What any agent's checksum looks like. */
export const AGENT_SHA256_PATTERN = '^[0-9a-f]{64}$';

/** What `buildScript` lets pass, so that no value is anything but a value in the shell line that it lands in. */
const BASE64_PATTERN = '^[A-Za-z0-9+/]*={0,2}$';
const TOKEN_PATTERN = '^[A-Za-z0-9._-]*$';

/** What is bound further than by an alphabet: to values, or to a pattern that may be a function of a template. */
export type Bounds = {
  /** How far the calls to the agent reach: see src/agent/host/access.ts. */
  readonly access: RoleName;
  /** Which server may be shown which password, in base64: see src/agent/host/password-servers.ts. */
  readonly passwordServersBase64: unknown;
  readonly stateDirectory: { readonly allowedValues: readonly unknown[] };
  readonly agentSha256: { readonly allowedPattern: unknown };
};

/**
 * A document of Systems Manager with the operations of the action in it, and nothing that a caller can add to them.
 *
 * `{{ name }}` is replaced in the text of the script before the shell sees it, so every parameter has a pattern without
 * quotes, blanks and control characters. Source: Systems Manager user guide, document schema 2.2 and parameters.
 */
export function hostDocument(bounds: Bounds): unknown {
  const { stateDirectory, agentSha256 } = bounds;
  return {
    schemaVersion: '2.2',
    description:
      'Ships the agent of valkey-migrate, checked by its SHA-256, and talks to it; runs nothing else.',
    parameters: {
      operation: { type: 'String', description: 'What to do.', allowedValues: Object.keys(OPERATIONS) },
      executionTimeout: {
        type: 'String',
        description: 'Seconds.',
        allowedPattern: '^[0-9]{1,4}$',
        default: '120',
      },
      ...Object.fromEntries(SCRIPT_VALUES.map((name) => [documentParameterName(name), valueParameter(name)])),
      stateDirectoryBase64: {
        type: 'String',
        description: 'The state directory in base64.',
        ...stateDirectory,
      },
      agentSha256: { type: 'String', description: 'SHA-256 of the agent.', ...agentSha256 },
    },
    mainSteps: [
      {
        action: 'aws:runShellScript',
        name: 'run',
        precondition: { StringEquals: ['platformType', 'Linux'] },
        inputs: { timeoutSeconds: '{{ executionTimeout }}', runCommand: documentScript(bounds) },
      },
    ],
  };
}

function valueParameter(name: string): unknown {
  const isBase64 = name.endsWith('_base64');
  return {
    type: 'String',
    description: isBase64 ? 'Data, in base64.' : 'A name or number.',
    allowedPattern: isBase64 ? BASE64_PATTERN : TOKEN_PATTERN,
    default: '',
  };
}

/** The lines of the script; those of a template may be functions of it. */
function documentScript({ access, passwordServersBase64 }: Bounds): unknown[] {
  const assignments = SCRIPT_VALUES.map((name) => `${name}='{{ ${documentParameterName(name)} }}'`);
  const branches = Object.entries(OPERATIONS).flatMap(([name, body]) => [
    `${name})`,
    ...body.trim().split('\n'),
    ';;',
  ]);
  return [
    '#!/bin/sh',
    'set -eu',
    'umask 077',
    ...assignments,
    `access='${access}'`,
    { 'Fn::Join': ['', ["password_servers_base64='", passwordServersBase64, "'"]] },
    "case '{{ operation }}' in",
    ...branches,
    'esac',
  ];
}
