import { stringify } from 'yaml';
import { AGENT_SHA256_PATTERN, hostDocument } from './host-document.ts';
import { HOST_SECRETS, HOST_TAG, ROLE_PHASES, type RoleName } from './permissions.ts';
import { hostStatements, roleStatements, type Statement, withFunctions } from './policies.ts';
import { GITHUB_ISSUER, type TrustedJobs, tokenSubject, trustPolicy } from './trust.ts';

const NO_VALUE = { Ref: 'AWS::NoValue' };

/** The template of the GitHub side: identity provider and roles. */
export function identityTemplate(): string {
  return yamlOf('Roles that GitHub jobs assume to run valkey-migrate on one replication group.', {
    Parameters: IDENTITY_PARAMETERS,
    Conditions: {
      MakeProvider: isEmpty('OidcProviderArn'),
      HasIds: { 'Fn::Not': [isEmpty('GitHubRepositoryId')] },
      HasWorkflows: { 'Fn::Not': [{ 'Fn::Equals': [{ 'Fn::Join': ['', { Ref: 'Workflows' }] }, ''] }] },
      PinsAgent: { 'Fn::Not': [isEmpty('AgentSha256')] },
      HasBoundary: { 'Fn::Not': [isEmpty('PermissionsBoundaryArn')] },
      RollbackWithoutApproval: { 'Fn::Equals': [{ Ref: 'RollbackNeedsApproval' }, 'false'] },
    },
    Rules: {
      IdsTogether: {
        RuleCondition: { 'Fn::Not': [isEmpty('GitHubRepositoryId')] },
        Assertions: [
          {
            Assert: { 'Fn::Not': [isEmpty('GitHubOwnerId')] },
            AssertDescription: 'GitHubRepositoryId needs GitHubOwnerId beside it.',
          },
        ],
      },
    },
    Resources: {
      OidcProvider: {
        Type: 'AWS::IAM::OIDCProvider',
        Condition: 'MakeProvider',
        // An account has one provider for an issuer: other stacks may have come to use it.
        DeletionPolicy: 'Retain',
        UpdateReplacePolicy: 'Retain',
        Properties: { Url: `https://${GITHUB_ISSUER}`, ClientIdList: ['sts.amazonaws.com'] },
      },
      ReadRole: role('read', 'branch'),
      ChangeRole: role('change', 'branch'),
      CutoverRole: role('cutover', 'environment'),
      ReadDocument: documentOf('read'),
      ChangeDocument: documentOf('change'),
      CutoverDocument: documentOf('cutover'),
    },
    Outputs: {
      RoleToAssume: output('Input role-to-assume of the workflow.', 'ReadRole'),
      ChangeRoleToAssume: output('Input change-role-to-assume of the workflow.', 'ChangeRole'),
      CutoverRoleToAssume: output('Input cutover-role-to-assume of the workflow.', 'CutoverRole'),
      SsmDocumentPrefix: {
        Description:
          'Input ssm-document-prefix of the workflow: the documents are this with -read, -change and -cutover.',
        Value: withFunctions('valkey-migrate-${ReplicationGroupId}'),
      },
    },
  });
}

const PASSWORD_SERVER = '(rediss://)?[A-Za-z0-9.:\\[\\]_-]+=(ssm|secretsmanager|file):[A-Za-z0-9/_+=.@:#!-]+';

const IDENTITY_PARAMETERS = {
  ReplicationGroupId: {
    Type: 'String',
    Description: 'Id of the replication group, in lower case as ElastiCache keeps it.',
    AllowedPattern: '[a-z][a-z0-9-]{0,39}',
  },
  ParameterGroup: {
    Type: 'String',
    Description:
      'Parameter group of the replication group, which start-migration may modify where reverse is true; none for no way back.',
    AllowedPattern: '[A-Za-z][A-Za-z0-9.-]{0,254}',
    Default: 'none',
  },
  GitHubOwner: {
    Type: 'String',
    Description: 'Owner of the repository whose workflow runs the migration.',
    AllowedPattern: '[A-Za-z0-9-]{1,39}',
  },
  GitHubRepository: {
    Type: 'String',
    Description: 'Name of that repository, without its owner.',
    AllowedPattern: '[A-Za-z0-9._-]{1,100}',
  },
  GitHubOwnerId: {
    Type: 'String',
    Description: 'Numeric id of the owner; needed with GitHubRepositoryId.',
    AllowedPattern: '[0-9]*',
    Default: '',
  },
  GitHubRepositoryId: {
    Type: 'String',
    Description:
      'Numeric id of the repository, for one that was made, renamed or transferred after 2026-07-15; empty for an older one.',
    AllowedPattern: '[0-9]*',
    Default: '',
  },
  Branch: {
    Type: 'String',
    Description: 'The branch whose runs may assume the roles for reading and changing.',
    AllowedPattern: '[A-Za-z0-9._/-]+',
    Default: 'main',
  },
  CutoverEnvironment: {
    Type: 'String',
    Description: 'The environment whose jobs alone may assume the role of the cutover.',
    AllowedPattern: '[A-Za-z0-9._-]+',
  },
  Workflows: {
    Type: 'CommaDelimitedList',
    Description:
      'The only workflows whose jobs may assume the roles, such as OWNER/valkey-migrate/.github/workflows/migrate.yml@refs/tags/v1; empty for any.',
    Default: '',
  },
  StateDirectory: {
    Type: 'String',
    Description: 'Input state-directory of the workflow: the document uses no other folder of the host.',
    AllowedPattern: '/[A-Za-z0-9._/-]+',
    Default: '/var/lib/valkey-migrate',
  },
  AgentSha256: {
    Type: 'String',
    Description:
      'SHA-256 of dist/agent/index.js of the release: the document ships and runs no other agent; empty for any.',
    AllowedPattern: '([0-9a-f]{64})?',
    Default: '',
  },
  PasswordServers: {
    Type: 'String',
    Description:
      'Which server may be shown which password, as host:port=NAME or rediss://host:port=NAME with commas between, such as 10.0.0.7:6379=ssm:/redis/source; empty for those that start-migration has named.',
    AllowedPattern: `(${PASSWORD_SERVER}(,${PASSWORD_SERVER})*)?`,
    Default: '',
  },
  RollbackNeedsApproval: {
    Type: 'String',
    Description:
      'With true only the role of the cutover may end an online migration, also for a rollback on the route native.',
    AllowedValues: ['true', 'false'],
    Default: 'false',
  },
  OidcProviderArn: {
    Type: 'String',
    Description: 'The identity provider of GitHub that the account already has; empty to make it.',
    Default: '',
  },
  PermissionsBoundaryArn: {
    Type: 'String',
    Description: 'Permissions boundary of the roles, where the account asks for one.',
    Default: '',
  },
  MaxSessionSeconds: {
    Type: 'Number',
    Description: 'The most that role-duration-seconds of the workflow may ask for.',
    MinValue: 3600,
    MaxValue: 43200,
    Default: 21600,
  },
} as const;

function role(name: RoleName, jobs: TrustedJobs): unknown {
  return {
    Type: 'AWS::IAM::Role',
    Properties: {
      Description: `valkey-migrate: ${ROLE_PHASES[name].join(', ')}`,
      MaxSessionDuration: { Ref: 'MaxSessionSeconds' },
      PermissionsBoundary: { 'Fn::If': ['HasBoundary', { Ref: 'PermissionsBoundaryArn' }, NO_VALUE] },
      AssumeRolePolicyDocument: trustPolicy({
        provider: { 'Fn::If': ['MakeProvider', { Ref: 'OidcProvider' }, { Ref: 'OidcProviderArn' }] },
        subject: {
          'Fn::If': [
            'HasIds',
            withFunctions(tokenSubject(jobs, 'ids')),
            withFunctions(tokenSubject(jobs, 'names')),
          ],
        },
        workflows: { 'Fn::If': ['HasWorkflows', { Ref: 'Workflows' }, NO_VALUE] },
      }),
      Policies: [
        {
          PolicyName: 'valkey-migrate',
          PolicyDocument: { Version: '2012-10-17', Statement: roleStatements(name).map(statementOf(name)) },
        },
      ],
      Tags: [{ Key: HOST_TAG, Value: { Ref: 'ReplicationGroupId' } }],
    },
  };
}

function documentOf(access: RoleName): unknown {
  return {
    Type: 'AWS::SSM::Document',
    Properties: {
      // A custom name, because the ARN in the policies names it.
      Name: withFunctions(['valkey-migrate-${ReplicationGroupId}', access].join('-')),
      DocumentType: 'Command',
      DocumentFormat: 'JSON',
      TargetType: '/',
      // Else CloudFormation would replace the document, which its name forbids.
      UpdateMethod: 'NewVersion',
      Content: hostDocument({
        access,
        passwordServersBase64: { 'Fn::Base64': { Ref: 'PasswordServers' } },
        stateDirectory: { allowedValues: [{ 'Fn::Base64': { Ref: 'StateDirectory' } }] },
        agentSha256: {
          allowedPattern: {
            'Fn::If': ['PinsAgent', withFunctions('^${AgentSha256}$'), AGENT_SHA256_PATTERN],
          },
        },
      }),
      Tags: [{ Key: HOST_TAG, Value: { Ref: 'ReplicationGroupId' } }],
    },
  };
}

/** IAM cannot tell a CompleteMigration that gives up from one that hands over, so a parameter says who may call it. */
function statementOf(name: RoleName): (statement: Statement) => unknown {
  return (statement) => {
    const inTemplate = withFunctions(statement);
    const ends = statement.Action.includes('elasticache:CompleteMigration');
    return name === 'change' && ends
      ? { 'Fn::If': ['RollbackWithoutApproval', inTemplate, NO_VALUE] }
      : inTemplate;
  };
}

/** The template of the host's side: what its role needs to read passwords. */
export function hostTemplate(): string {
  const names = HOST_SECRETS.map(({ parameter }) => parameter);
  return yamlOf(
    'What the role of a host needs, beside AmazonSSMManagedInstanceCore, to read passwords for valkey-migrate.',
    {
      Parameters: {
        HostRoleName: {
          Type: 'String',
          Description: 'Name, not ARN, of the role in the instance profile of the host.',
          AllowedPattern: '[A-Za-z0-9+=,.@_-]{1,64}',
        },
        ...Object.fromEntries(
          HOST_SECRETS.map(({ parameter, about }) => [
            parameter,
            { Type: 'String', Description: `${about}; it may end in *.`, Default: '' },
          ]),
        ),
      },
      Conditions: Object.fromEntries(names.map((name) => [`Has${name}`, { 'Fn::Not': [isEmpty(name)] }])),
      Rules: {
        SomethingToRead: {
          Assertions: [
            {
              Assert: { 'Fn::Or': names.slice(0, 2).map((name) => ({ 'Fn::Not': [isEmpty(name)] })) },
              AssertDescription: `Give ${names.slice(0, 2).join(' or ')}: without a password to read no role needs this.`,
            },
          ],
        },
      },
      Resources: {
        HostPolicy: {
          Type: 'AWS::IAM::Policy',
          Properties: {
            PolicyName: 'valkey-migrate-passwords',
            Roles: [{ Ref: 'HostRoleName' }],
            PolicyDocument: {
              Version: '2012-10-17',
              Statement: hostStatements().map((statement, index) => ({
                'Fn::If': [`Has${names[index]}`, withFunctions(statement), NO_VALUE],
              })),
            },
          },
        },
      },
    },
  );
}

function isEmpty(parameter: string): unknown {
  return { 'Fn::Equals': [{ Ref: parameter }, ''] };
}

function output(description: string, role: string): unknown {
  return { Description: description, Value: { 'Fn::GetAtt': [role, 'Arn'] } };
}

function yamlOf(description: string, sections: Readonly<Record<string, unknown>>): string {
  const body = stringify(
    { AWSTemplateFormatVersion: '2010-09-09', Description: description, ...sections },
    // Aliases are not for CloudFormation, and a folded string is hard to compare.
    { aliasDuplicateObjects: false, lineWidth: 0 },
  );
  return `# Generated from scripts/identity by \`npm run docs\`: change it there.\n${body}`;
}
