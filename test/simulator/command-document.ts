import * as ssm from '@aws-sdk/client-ssm';
import { z } from 'zod';
import { modelledFault } from './fault.ts';

/** A command document of one's own: parameters that are checked, and one shell script that they are put into. */
export type CommandDocument = {
  /**
   * The script with the parameters in it, and its timeout in seconds.
   *
   * @throws AwsFault InvalidParameters
   */
  render(parameters: Readonly<Record<string, readonly string[]>>): { script: string; timeoutSeconds: string };
};

const parameterSchema = z.strictObject({
  type: z.literal('String'),
  description: z.string().optional(),
  default: z.string().optional(),
  allowedValues: z.array(z.string()).optional(),
  allowedPattern: z.string().optional(),
});

/** Schema 2.2, as far as a single shell script goes. Source: Systems Manager user guide, data elements. */
const documentSchema = z.strictObject({
  schemaVersion: z.literal('2.2'),
  description: z.string().optional(),
  parameters: z.record(z.string().regex(/^[A-Za-z0-9]+$/), parameterSchema),
  mainSteps: z.tuple([
    z.strictObject({
      action: z.literal('aws:runShellScript'),
      name: z.string(),
      precondition: z.strictObject({
        StringEquals: z.tuple([z.literal('platformType'), z.literal('Linux')]),
      }),
      inputs: z.strictObject({ timeoutSeconds: z.string(), runCommand: z.array(z.string()) }),
    }),
  ]),
});

/** The limit of Systems Manager for a document. */
const DOCUMENT_BYTES_MAX = 64 * 1024;

/**
 * Reads the content of a document as CreateDocument would.
 *
 * @throws Error for one that Systems Manager would not take
 */
export function readDocument(content: unknown): CommandDocument {
  const document = documentSchema.parse(content);
  if (Buffer.byteLength(JSON.stringify(content)) > DOCUMENT_BYTES_MAX)
    throw new Error('A document has 64 KB at most');
  const { inputs } = document.mainSteps[0];
  const script = inputs.runCommand.join('\n');
  const used = [...`${script}${inputs.timeoutSeconds}`.matchAll(/\{\{([^}]*)\}\}/g)].map(
    ([, name = '']) => name,
  );
  for (const name of used) {
    if (document.parameters[name.trim()] === undefined)
      throw new Error(`The document has no parameter ${name}`);
  }
  return {
    render: (given) => {
      const values = readParameters(document.parameters, given);
      const fill = (text: string) =>
        text.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_, name: string) => values[name] ?? '');
      return { script: `${fill(script)}\n`, timeoutSeconds: fill(inputs.timeoutSeconds) };
    },
  };
}

function readParameters(
  known: Readonly<Record<string, z.infer<typeof parameterSchema>>>,
  given: Readonly<Record<string, readonly string[]>>,
): Record<string, string> {
  const unknown = Object.keys(given).find((name) => known[name] === undefined);
  if (unknown !== undefined) throw modelledFault('json', ssm.InvalidParameters$, unknown);
  return Object.fromEntries(
    Object.entries(known).map(([name, parameter]) => {
      const [value = parameter.default, ...more] = given[name] ?? [];
      const isAllowed =
        value !== undefined &&
        more.length === 0 &&
        (parameter.allowedValues?.includes(value) ?? true) &&
        new RegExp(`^(?:${parameter.allowedPattern ?? '[^]*'})$`).test(value);
      if (!isAllowed) throw modelledFault('json', ssm.InvalidParameters$, name);
      return [name, value];
    }),
  );
}
