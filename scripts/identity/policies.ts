import {
  HOST_SECRETS,
  HOST_TAG,
  PERMISSIONS,
  type Permission,
  RESOURCE_ARNS,
  type ResourceKind,
  ROLE_PHASES,
  type RoleName,
} from './permissions.ts';

/** A statement of an IAM policy; its strings hold placeholders of CloudFormation. */
export type Statement = {
  readonly Sid: string;
  readonly Effect: 'Allow';
  readonly Action: readonly string[];
  readonly Resource: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
};

/** The statements of a role: what its phases call, on the resources of one migration only. */
export function roleStatements(role: RoleName): readonly Statement[] {
  const phases: readonly string[] = ROLE_PHASES[role];
  const needed = PERMISSIONS.filter((permission) =>
    permission.phases.some((phase) => phases.includes(phase)),
  );
  const statements = new Map<string, Statement>();
  for (const { action, statement } of needed.flatMap(grants)) {
    const before = statements.get(statement.Sid);
    statements.set(statement.Sid, { ...statement, Action: [...(before?.Action ?? []), action] });
  }
  return [...statements.values()].map((statement) => withValues(statement, { Role: role }));
}

/**
 * A permission by kinds of resources: the tag condition stands with the hosts alone.
 *
 * ssm:SendCommand is checked on the document and on the instance, and a document has no tag of ours.
 */
function grants({ action, resources }: Permission): { action: string; statement: Statement }[] {
  const isTagged = (kind: ResourceKind) => kind === 'tagged-hosts';
  return [resources.filter((kind) => !isTagged(kind)), resources.filter(isTagged)]
    .filter((kinds) => kinds.length > 0)
    .map((kinds) => ({
      action,
      statement: {
        Sid: kinds.map(pascalCase).join(''),
        Effect: 'Allow',
        Action: [],
        Resource: kinds.flatMap((kind) => RESOURCE_ARNS[kind]),
        ...(kinds.some(isTagged)
          ? { Condition: { StringEquals: { [`ssm:resourceTag/${HOST_TAG}`]: '${ReplicationGroupId}' } } }
          : {}),
      },
    }));
}

function pascalCase(kind: string): string {
  return kind.replaceAll(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** The statements of the host, one for each kind of secret; a key of its own opens nothing but these. */
export function hostStatements(): readonly Statement[] {
  return HOST_SECRETS.map(({ action, parameter }) => ({
    Sid: parameter.replace(/Arn$/, 's'),
    Effect: 'Allow',
    Action: [action],
    Resource: [`\${${parameter}}`],
    ...(action === 'kms:Decrypt'
      ? {
          Condition: {
            StringEquals: {
              'kms:ViaService': [
                'ssm.${AWS::Region}.amazonaws.com',
                'secretsmanager.${AWS::Region}.amazonaws.com',
              ],
            },
          },
        }
      : {}),
  }));
}

/** Puts values in the place of placeholders, everywhere in a document; one without a value stays. */
export function withValues<Document>(document: Document, values: Readonly<Record<string, string>>): Document;
export function withValues(document: unknown, values: Readonly<Record<string, string>>): unknown {
  return mapStrings(document, (text) =>
    text.replaceAll(/\$\{([\w:]+)\}/g, (placeholder, name: string) => values[name] ?? placeholder),
  );
}

/** Turns placeholders into functions of CloudFormation, everywhere in a document. */
export function withFunctions(document: unknown): unknown {
  return mapStrings(document, (text) => {
    const reference = /^\$\{([\w:]+)\}$/.exec(text)?.[1];
    if (reference !== undefined) return { Ref: reference };
    return text.includes('${') ? { 'Fn::Sub': text } : text;
  });
}

function mapStrings(document: unknown, change: (text: string) => unknown): unknown {
  if (typeof document === 'string') return change(document);
  if (Array.isArray(document)) return document.map((item) => mapStrings(item, change));
  if (typeof document !== 'object' || document === null) return document;
  return Object.fromEntries(
    Object.entries(document).map(([name, value]) => [name, mapStrings(value, change)]),
  );
}
