import type { StaticErrorSchema, StaticOperationSchema } from '@smithy/types';
import type { AwsFault, Protocol } from './fault.ts';

/** The account that owns everything in the simulator. */
export const ACCOUNT_ID = '111122223333';

/** One operation that a service serves: its schema and what it does with a checked input. */
export type ServedOperation = {
  readonly schema: StaticOperationSchema;
  readonly handle: (input: unknown, caller: Caller) => Promise<unknown>;
};

/** Who calls, as far as the simulator can tell from the request. */
export type Caller = {
  arn: string;
  /** What the policies of the caller say; without it everything is allowed. */
  allows?: (call: {
    service: string;
    operation: string;
    input: Readonly<Record<string, unknown>>;
  }) => boolean;
};

/** One AWS service: how it speaks and what it serves. */
export type Service = {
  /** The name in the SigV4 credential scope and in IAM actions. */
  readonly name: 'elasticache' | 'secretsmanager' | 'ssm' | 'sts';
  readonly protocol: Protocol;
  readonly xmlNamespace: string;
  readonly operations: ReadonlyMap<string, ServedOperation>;
  /** A fault of this service's model by its code on the wire, or undefined. */
  readonly modelled: (code: string, message: string) => AwsFault | undefined;
};

/**
 * An input whose required members are there: the SDK's types say `Name: string | undefined` for them,
 * the schema check has already refused a request without them.
 */
export type Checked<Input> = {
  [Member in keyof Input]: Record<string, never> extends Pick<Input, Member>
    ? Input[Member]
    : Exclude<Input[Member], undefined>;
};

/**
 * Ties an operation's schema to the function that serves it; a request with one of the `unserved` members is refused
 * loudly, so that no test believes in an option that the simulator would have ignored.
 */
export function serve<Input extends object, Output>(
  schema: StaticOperationSchema,
  handle: (input: Checked<Input>, caller: Caller) => Promise<Output> | Output,
  unserved: readonly (keyof Input & string)[] = [],
): [string, ServedOperation] {
  const name = schema[2];
  return [
    name,
    {
      schema,
      handle: async (input, caller) => {
        // The wire layer has checked the input against the very schema that the SDK's type is generated from.
        const checked = input as Checked<Input>;
        const ignored = unserved.find((member) => checked[member] !== undefined);
        if (ignored !== undefined) throw new Error(`The simulator does not serve ${ignored} of ${name}`);
        return handle(checked, caller);
      },
    },
  ];
}

/** Finds the error schemas among a client package's exports: arrays that begin with -3. */
export function errorSchemas(client: object): StaticErrorSchema[] {
  return Object.values(client).filter(isErrorSchema);
}

function isErrorSchema(value: unknown): value is StaticErrorSchema {
  return Array.isArray(value) && value[0] === -3;
}
