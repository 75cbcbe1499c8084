import { parse } from 'yaml';
import { z } from 'zod';

/** A template with its functions worked out, for one set of parameters. */
export type ResolvedTemplate = {
  /** The properties of the resources that would be made, by logical id. */
  readonly resources: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, unknown>>;
};

/** The account and region that a template is resolved for. */
export const PSEUDO_PARAMETERS = {
  'AWS::Partition': 'aws',
  'AWS::Region': 'ap-northeast-2',
  'AWS::AccountId': '111122223333',
  'AWS::URLSuffix': 'amazonaws.com',
} as const;

const parameterSchema = z.object({
  Type: z.enum(['String', 'Number', 'CommaDelimitedList']),
  Default: z.union([z.string(), z.number()]).optional(),
  AllowedPattern: z.string().optional(),
  AllowedValues: z.array(z.string()).optional(),
});
const templateSchema = z.object({
  Parameters: z.record(z.string(), parameterSchema),
  Conditions: z.record(z.string(), z.unknown()).default({}),
  Resources: z.record(
    z.string(),
    z.object({ Type: z.string(), Condition: z.string().optional(), Properties: z.unknown() }),
  ),
  Outputs: z.record(z.string(), z.object({ Value: z.unknown() })).default({}),
});
type Template = z.infer<typeof templateSchema>;

const NOTHING = Symbol('AWS::NoValue');

/**
 * Works out a template as CloudFormation does, as far as our own go: Ref, GetAtt of an Arn, Sub, If, Equals, Not, Or,
 * Join and Base64.
 *
 * @throws Error for a parameter that the template refuses, and for a function that is none of these
 */
export function resolveTemplate(text: string, given: Readonly<Record<string, string>>): ResolvedTemplate {
  const template = templateSchema.parse(parse(text));
  const values = { ...PSEUDO_PARAMETERS, 'AWS::NoValue': NOTHING, ...readParameters(template, given) };
  const resolve = (value: unknown): unknown => resolveValue(value, { template, values, resolve });
  const made = Object.entries(template.Resources).filter(
    ([, { Condition: name }]) => name === undefined || resolve(template.Conditions[name]) === true,
  );
  return {
    resources: Object.fromEntries(made.map(([id, { Properties }]) => [id, resolve(Properties)])),
    outputs: Object.fromEntries(
      Object.entries(template.Outputs).map(([id, { Value }]) => [id, resolve(Value)]),
    ),
  };
}

function readParameters(
  template: Template,
  given: Readonly<Record<string, string>>,
): Record<string, unknown> {
  const unknown = Object.keys(given).find((name) => template.Parameters[name] === undefined);
  if (unknown !== undefined) throw new Error(`The template has no parameter ${unknown}`);
  return Object.fromEntries(
    Object.entries(template.Parameters).map(([name, parameter]) => {
      const value = given[name] ?? parameter.Default;
      if (value === undefined) throw new Error(`The template needs ${name}`);
      const isAllowed =
        new RegExp(`^(?:${parameter.AllowedPattern ?? '[^]*'})$`).test(String(value)) &&
        (parameter.AllowedValues?.includes(String(value)) ?? true);
      if (!isAllowed) throw new Error(`The template refuses ${name}: ${value}`);
      return [name, parameter.Type === 'CommaDelimitedList' ? String(value).split(',') : value];
    }),
  );
}

type Context = {
  readonly template: Template;
  readonly values: Readonly<Record<string, unknown>>;
  resolve(value: unknown): unknown;
};

function resolveValue(value: unknown, context: Context): unknown {
  if (Array.isArray(value)) return value.map(context.resolve).filter((item) => item !== NOTHING);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value);
  const [name = '', argument] = entries[0] ?? [];
  if (entries.length === 1 && (name === 'Ref' || name.startsWith('Fn::'))) {
    return applyFunction(name, argument, context);
  }
  return Object.fromEntries(
    entries.map(([key, item]) => [key, context.resolve(item)]).filter(([, item]) => item !== NOTHING),
  );
}

function applyFunction(name: string, argument: unknown, context: Context): unknown {
  const { resolve } = context;
  const list: readonly unknown[] = Array.isArray(argument) ? argument : [argument];
  switch (name) {
    case 'Ref':
      return reference(String(argument), context);
    case 'Fn::GetAtt':
      return physicalArn(String(list[0]), context);
    case 'Fn::Sub':
      return String(argument).replaceAll(/\$\{([\w:]+)\}/g, (_, id: string) =>
        String(reference(id, context)),
      );
    case 'Fn::If':
      return resolve(resolve(context.template.Conditions[String(list[0])]) === true ? list[1] : list[2]);
    case 'Fn::Equals':
      return resolve(list[0]) === resolve(list[1]);
    case 'Fn::Not':
      return resolve(list[0]) !== true;
    case 'Fn::Or':
      return list.some((item) => resolve(item) === true);
    case 'Fn::Join': {
      const items = resolve(list[1]);
      return Array.isArray(items) ? items.join(String(list[0])) : '';
    }
    case 'Fn::Base64':
      return Buffer.from(String(resolve(argument))).toString('base64');
    default:
      throw new Error(`The function ${name} is not known here`);
  }
}

function reference(id: string, context: Context): unknown {
  if (id in context.values) return context.values[id];
  const resource = context.template.Resources[id];
  if (resource === undefined) throw new Error(`There is no parameter or resource ${id}`);
  if (resource.Type === 'AWS::IAM::OIDCProvider') return physicalArn(id, context);
  const properties = z.object({ Name: z.unknown() }).parse(context.resolve(resource.Properties));
  return properties.Name;
}

function physicalArn(id: string, { template }: Context): string {
  const type = template.Resources[id]?.Type === 'AWS::IAM::Role' ? 'role' : 'oidc-provider';
  return `arn:aws:iam::${PSEUDO_PARAMETERS['AWS::AccountId']}:${type}/${id}`;
}
