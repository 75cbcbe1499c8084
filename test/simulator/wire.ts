import { XmlShapeSerializer } from '@aws-sdk/core/protocols';
import { JsonShapeDeserializer, JsonShapeSerializer } from '@smithy/core/protocols';
import { NormalizedSchema } from '@smithy/core/schema';
import type { DocumentType, StaticOperationSchema, StaticStructureSchema } from '@smithy/types';

/**
 * The run-time shape of a structure as the SDK's clients carry it:
 * `[3, namespace, name, traits, memberNames, memberSchemas, requiredCount]`, required members first.
 * The layout is not a documented API, so the SDK's versions are pinned and `wire.test.ts` fails when it moves.
 */
type Shape = StaticStructureSchema | StaticOperationSchema[4] | StaticOperationSchema[5];

const XML_SETTINGS = {
  timestampFormat: { useTrait: true, default: 5 as const },
  httpBindings: false,
};
const JSON_SETTINGS = { jsonName: false, timestampFormat: { useTrait: true, default: 7 as const } };

/** A request or an answer that does not fit the schema of its operation: a mistake in the caller or in the simulator. */
export class WireMismatch extends Error {
  override name = 'WireMismatch';
}

/**
 * Reads the parameters of an AWS query request into the input shape of its operation.
 *
 * ```
 * body    = pair *( "&" pair )
 * pair    = path "=" value
 * path    = member *( "." ( member / list-tag "." index ) )     ; index counts from 1
 * list-tag = xmlName of the list's items, or "member"
 * ```
 * An empty list is its path with an empty value.
 *
 * @throws WireMismatch on an unknown parameter, a wrong primitive or a missing required member
 */
export function readQueryInput(shape: Shape, parameters: ReadonlyMap<string, string>): unknown {
  const consumed = new Set<string>(['Action', 'Version']);
  const schema = NormalizedSchema.of(shape);
  const input = readQueryStructure(schema, '', { parameters, consumed });
  for (const name of parameters.keys()) {
    if (!consumed.has(name)) {
      throw new WireMismatch(`${schema.getName() ?? 'input'} has no parameter ${name}`);
    }
  }
  checkShape(shape, input);
  return input;
}

/**
 * Reads a JSON 1.1 request body into the input shape of its operation; timestamps become Dates.
 *
 * @throws WireMismatch on a body that is not JSON, an unknown member, a wrong primitive or a missing required member
 */
export function readJsonInput(shape: Shape, body: string): unknown {
  let raw: DocumentType;
  try {
    raw = JSON.parse(body === '' ? '{}' : body);
  } catch (cause) {
    throw new WireMismatch('The body is not JSON', { cause });
  }
  checkMembers(NormalizedSchema.of(shape), raw, { path: '', timestamp: 'number' });
  return new JsonShapeDeserializer(JSON_SETTINGS).readObject(NormalizedSchema.of(shape), raw);
}

/** The XML body of a successful query answer: `<OpResponse><OpResult>…</OpResult><ResponseMetadata/></OpResponse>`. */
export function writeXmlAnswer(options: {
  operation: StaticOperationSchema;
  output: unknown;
  xmlNamespace: string;
  requestId: string;
}): string {
  const { operation, output, xmlNamespace, requestId } = options;
  const name = operation[2];
  checkShape(operation[5], output);
  const serializer = new XmlShapeSerializer({
    ...XML_SETTINGS,
    xmlNamespace: '',
    serviceNamespace: operation[1],
  });
  serializer.write(NormalizedSchema.of(operation[5]), output);
  // The serializer names the root after the output shape; the query protocol wants the operation's name.
  const members = String(serializer.flush()).replace(/^<[^>]*?\/>$|^<[^>]*>|<\/[^<]*>$/g, '');
  return (
    `<${name}Response xmlns="${xmlNamespace}"><${name}Result>${members}</${name}Result>` +
    `<ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></${name}Response>`
  );
}

/** The JSON 1.1 body of a successful answer; timestamps as seconds since the epoch. */
export function writeJsonAnswer(operation: StaticOperationSchema, output: unknown): string {
  checkShape(operation[5], output);
  const serializer = new JsonShapeSerializer(JSON_SETTINGS);
  serializer.write(NormalizedSchema.of(operation[5]), output);
  return serializer.flush();
}

/**
 * Checks a value against its schema: no unknown member, every primitive of its type, every required member there.
 *
 * @throws WireMismatch naming the path of the first member that does not fit
 */
export function checkShape(shape: Shape, value: unknown): void {
  checkMembers(NormalizedSchema.of(shape), value, { path: '', timestamp: 'date' });
}

type Place = { path: string; timestamp: 'date' | 'number' };

function checkMembers(schema: NormalizedSchema, value: unknown, place: Place): void {
  if (schema.isUnitSchema()) return;
  if (schema.isStructSchema()) {
    checkStructure(schema, value, place);
    return;
  }
  if (schema.isListSchema()) {
    if (!Array.isArray(value)) throw mismatch(schema, place, 'a list', value);
    for (const [index, item] of value.entries()) {
      checkMembers(schema.getValueSchema(), item, { ...place, path: `${place.path}[${index}]` });
    }
    return;
  }
  if (schema.isMapSchema()) {
    for (const [key, item] of Object.entries(record(schema, value, place))) {
      checkMembers(schema.getValueSchema(), item, { ...place, path: `${place.path}.${key}` });
    }
    return;
  }
  const expected = primitiveOf(schema, place);
  const fits = expected === 'date' ? value instanceof Date : typeof value === expected;
  if (!fits) throw mismatch(schema, place, `a ${expected}`, value);
}

function checkStructure(schema: NormalizedSchema, value: unknown, place: Place): void {
  const members = new Map(schema.structIterator());
  const present = record(schema, value, place);
  for (const [name, item] of Object.entries(present)) {
    if (item === undefined) continue;
    const member = members.get(name);
    if (member === undefined) {
      throw new WireMismatch(
        `${at(schema, place)}${name} is no member of ${schema.getName() ?? 'the shape'}`,
      );
    }
    checkMembers(member, item, { ...place, path: `${place.path}.${name}` });
  }
  for (const name of requiredMembers(schema)) {
    if (present[name] === undefined) {
      throw new WireMismatch(`${at(schema, place)}${name} is required and missing`);
    }
  }
}

function requiredMembers(schema: NormalizedSchema): string[] {
  const raw: unknown = schema.getSchema();
  if (!Array.isArray(raw)) return [];
  const names: unknown = raw[4];
  const count: unknown = raw[6] ?? 0;
  if (!Array.isArray(names) || typeof count !== 'number') {
    throw new WireMismatch(
      `The SDK's schema of ${schema.getName() ?? 'a shape'} has another layout than expected`,
    );
  }
  return names.slice(0, count).map(String);
}

function primitiveOf(schema: NormalizedSchema, place: Place): 'string' | 'number' | 'boolean' | 'date' {
  if (schema.isTimestampSchema()) return place.timestamp;
  if (schema.isBooleanSchema()) return 'boolean';
  if (schema.isNumericSchema()) return 'number';
  if (schema.isStringSchema()) return 'string';
  throw new WireMismatch(
    `${place.path}: the simulator serves no ${schema.getName() ?? 'member'} of this type`,
  );
}

function record(schema: NormalizedSchema, value: unknown, place: Place): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Date) {
    throw mismatch(schema, place, 'an object', value);
  }
  return { ...value };
}

function mismatch(schema: NormalizedSchema, place: Place, expected: string, value: unknown): WireMismatch {
  return new WireMismatch(
    `${at(schema, place)}expected ${expected}, got ${JSON.stringify(value) ?? 'nothing'}`,
  );
}

function at(schema: NormalizedSchema, place: Place): string {
  return place.path === '' ? `${schema.getName() ?? 'shape'}: ` : `${place.path.replace(/^\./, '')}: `;
}

type Query = { parameters: ReadonlyMap<string, string>; consumed: Set<string> };

function readQueryStructure(schema: NormalizedSchema, prefix: string, query: Query): Record<string, unknown> {
  const structure: Record<string, unknown> = {};
  if (schema.isUnitSchema()) return structure;
  for (const [name, member] of schema.structIterator()) {
    const path = prefix + xmlName(member, name);
    const below = `${path}.`;
    const isThere =
      query.parameters.has(path) || [...query.parameters.keys()].some((key) => key.startsWith(below));
    if (isThere) structure[name] = readQueryMember(member, path, query);
  }
  return structure;
}

function readQueryMember(schema: NormalizedSchema, path: string, query: Query): unknown {
  if (schema.isStructSchema()) return readQueryStructure(schema, `${path}.`, query);
  if (schema.isListSchema()) return readQueryList(schema, path, query);
  const text = query.parameters.get(path);
  if (text === undefined) throw new WireMismatch(`${path} holds one value, not a structure`);
  query.consumed.add(path);
  return readQueryValue(schema, path, text);
}

function readQueryList(schema: NormalizedSchema, path: string, query: Query): unknown[] {
  const items: unknown[] = [];
  if (query.parameters.get(path) === '') {
    query.consumed.add(path);
    return items;
  }
  const item = schema.getValueSchema();
  const tag = `${path}.${xmlName(item, 'member')}`;
  const keys = [...query.parameters.keys()];
  for (let index = 1; ; index += 1) {
    const key = `${tag}.${index}`;
    if (!keys.some((known) => known === key || known.startsWith(`${key}.`))) return items;
    items.push(readQueryMember(item, key, query));
  }
}

function readQueryValue(schema: NormalizedSchema, path: string, text: string): unknown {
  if (schema.isTimestampSchema()) {
    const date = new Date(text);
    if (Number.isNaN(date.getTime())) throw new WireMismatch(`${path}: expected a timestamp, got ${text}`);
    return date;
  }
  if (schema.isBooleanSchema()) {
    if (text !== 'true' && text !== 'false')
      throw new WireMismatch(`${path}: expected a boolean, got ${text}`);
    return text === 'true';
  }
  if (schema.isNumericSchema()) {
    if (!/^-?\d+(\.\d+)?$/.test(text)) throw new WireMismatch(`${path}: expected a number, got ${text}`);
    return Number(text);
  }
  return text;
}

function xmlName(schema: NormalizedSchema, fallback: string): string {
  const name = schema.getMergedTraits().xmlName;
  return typeof name === 'string' ? name : fallback;
}
