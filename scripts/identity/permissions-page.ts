import { PHASES } from '../../src/action/inputs.ts';
import { HOST_SECRETS, PERMISSIONS, type Permission, ROLE_PHASES, type RoleName } from './permissions.ts';
import { hostStatements, roleStatements, withValues } from './policies.ts';
import { GITHUB_ISSUER, type TrustedJobs, tokenSubject, trustPolicy } from './trust.ts';

/** Placeholders as a reader fills them in. */
const SHOWN = {
  'AWS::Partition': 'aws',
  'AWS::Region': 'REGION',
  'AWS::AccountId': 'ACCOUNT',
  ReplicationGroupId: 'GROUP',
  ParameterGroup: 'PARAMETER_GROUP',
  GitHubOwner: 'OWNER',
  GitHubRepository: 'REPOSITORY',
  GitHubOwnerId: 'OWNER_ID',
  GitHubRepositoryId: 'REPOSITORY_ID',
  Branch: 'main',
  CutoverEnvironment: 'ENVIRONMENT',
  ...Object.fromEntries(
    HOST_SECRETS.map(({ parameter }) => [parameter, parameter.replace('Arn', '').toUpperCase()]),
  ),
};

const ROLE_INPUTS: Readonly<Record<RoleName, { input: string; jobs: TrustedJobs; about: string }>> = {
  read: { input: 'role-to-assume', jobs: 'branch', about: 'It changes nothing in AWS.' },
  change: {
    input: 'change-role-to-assume',
    jobs: 'branch',
    about:
      'IAM cannot tell the `CompleteMigration` that gives an online migration up from the one that hands over. Leave the ' +
      'statement `GroupMemberClusters` out (`RollbackNeedsApproval` of the template) where a rollback on the route `native` may wait for the ' +
      'reviewers too.',
  },
  cutover: {
    input: 'cutover-role-to-assume',
    jobs: 'environment',
    about: 'Only a job that the reviewers of the environment have let pass can assume it.',
  },
};

/** The sections of docs/permissions.md that come from the table, by the names of their markers. */
export function permissionSections(
  table: (head: string[], rows: string[][]) => string,
): Record<string, string> {
  return {
    permissions: table(
      ['AWS action', 'for', 'phases', 'on'],
      PERMISSIONS.map((permission) => [
        `\`${permission.action}\``,
        permission.purpose,
        phasesOf(permission),
        conditionsOf(permission),
      ]),
    ),
    roles: (['read', 'change', 'cutover'] as const).map(roleSection).join('\n\n'),
    host: json(withValues({ Version: '2012-10-17', Statement: hostStatements() }, SHOWN)),
  };
}

/** The table of the README: what most phases call, then what each calls beyond that. */
export function permissionsByPhase(table: (head: string[], rows: string[][]) => string): string {
  const names = (permissions: readonly Permission[]) =>
    permissions.map(({ action }) => `\`${action}\``).join(' ');
  const [overSsm, direct] = [
    PERMISSIONS.filter(({ host }) => host === 'ssm'),
    PERMISSIONS.filter(({ host }) => host === undefined),
  ];
  const common = direct.filter(({ phases }) => phases.length === PHASES.length - 1);
  const rows = PHASES.flatMap((phase) => {
    const own = direct.filter(
      (permission) => !common.includes(permission) && permission.phases.includes(phase),
    );
    const on = (wanted: Pick<Permission, 'route' | 'reverse'>) =>
      names(own.filter(({ route, reverse }) => route === wanted.route && reverse === wanted.reverse));
    const cells = [on({}), on({ route: 'native' }), on({ reverse: true })];
    return own.length === 0 ? [] : [[`\`${phase}\``, ...cells]];
  });
  return table(
    ['phase', 'AWS actions', 'on the route `native`', 'with `reverse: true`'],
    [
      ['all, with `host: ssm`', names(overSsm), '', ''],
      [common[0] === undefined ? '' : phasesOf(common[0]), names(common), '', ''],
      ...rows,
    ],
  );
}

function phasesOf({ phases }: Permission): string {
  if (phases.length === PHASES.length) return 'all';
  const missing = PHASES.filter((phase) => !phases.includes(phase));
  if (missing.length === 1) return `all but \`${missing[0]}\``;
  return PHASES.filter((phase) => phases.includes(phase))
    .map((phase) => `\`${phase}\``)
    .join(', ');
}

function conditionsOf({ route, reverse, host }: Permission): string {
  const parts = [
    route === undefined ? [] : [`route \`${route}\``],
    reverse === undefined ? [] : ['`reverse: true`'],
    host === undefined ? [] : [`\`host: ${host}\``],
  ];
  return parts.flat().join(', ');
}

function roleSection(name: RoleName): string {
  const { input, jobs, about } = ROLE_INPUTS[name];
  const phases = ROLE_PHASES[name].map((phase) => `\`${phase}\``).join(', ');
  return [
    `### \`${input}\``,
    `For ${phases}. ${about} Its policy:`,
    json(withValues({ Version: '2012-10-17', Statement: roleStatements(name) }, SHOWN)),
    'Its trust policy:',
    json(
      withValues(
        trustPolicy({
          provider: `arn:\${AWS::Partition}:iam::\${AWS::AccountId}:oidc-provider/${GITHUB_ISSUER}`,
          subject: tokenSubject(jobs, 'names'),
        }),
        SHOWN,
      ),
    ),
    `With ids its subject is \`${String(withValues(tokenSubject(jobs, 'ids'), SHOWN))}\`.`,
  ].join('\n\n');
}

function json(value: unknown): string {
  return `\`\`\`json\n${JSON.stringify(value, null, 2)}\n\`\`\``;
}
