import path from 'node:path';

/** A file below `src`, by its path from the root of the repository. */
export type SourceFile = { readonly path: string; readonly text: string };

/** Arrows that must not be: files that match the first must not import what matches the second, because. */
const FORBIDDEN_ARROWS: readonly (readonly [from: RegExp, to: RegExp, because: string])[] = [
  [/^src\/action\//, /^src\/agent\//, 'the two wings meet in the contract only'],
  [/^src\/agent\//, /^src\/action\//, 'the two wings meet in the contract only'],
  [/^src\/contract\//, /^src\/(action|agent)\//, 'the contract knows neither wing'],
  [/^src\/core\//, /^(?!src\/core\/|node:)/, 'the toolbox stands on nothing but Node'],
  [/^src\/(agent|contract)\//, /^@(actions|aws-sdk)\//, 'GitHub and AWS are the business of the action'],
  [/^src\/action\/(?!(aws|host)\/)/, /^@aws-sdk\//, 'phases reach AWS only through aws and host'],
  [/^src\/action\//, /^ioredis$/, 'the runner opens no connection to Redis'],
  [/^src\/agent\/sync\//, /^src\/agent\/(verify|cutover)\//, 'rooms of the agent meet in redis'],
  // The cutover may look into verify: its proof is a verification, run while writes are fenced.
  [/^src\/agent\/verify\//, /^src\/agent\/(sync|cutover)\//, 'rooms of the agent meet in redis'],
  [/^src\/agent\/cutover\//, /^src\/agent\/sync\//, 'rooms of the agent meet in redis'],
  [/^src\//, /^(test|scripts)\//, 'the product knows nothing of its tests'],
];

/** What only the two main.ts may touch; everything else of `process` says where it runs, not what to do. */
const PROCESS_OF_MAIN = /\bprocess\.(argv|env|exit|exitCode|abort)\b|\bfrom\s*'(?:node:)?process'/;

const EMPTY_NAMES = /(^|-)(utils?|helpers?|common|misc|manager|impl)(-|$)/;

/** Every rule that the file breaks, as a sentence; `dependencies` are the packages that the product may import. */
export function brokenRules(file: SourceFile, dependencies: readonly string[]): string[] {
  const code = withoutComments(file.text);
  const imports = importsOf(code).map((specifier) => resolve(file.path, specifier));
  const broken = imports.flatMap((target) => arrowBroken(file.path, target, dependencies) ?? []);
  if (!file.path.endsWith('/main.ts') && PROCESS_OF_MAIN.test(code))
    broken.push(`${file.path}: only main.ts touches arguments, environment and exit`);
  if (/^\s*export\s+(type\s+)?(\*|\{[^}]*\}\s*from\b)/m.test(code))
    broken.push(`${file.path}: re-exports: import a symbol from where it is`);
  const name = path.basename(file.path, '.ts');
  if (EMPTY_NAMES.test(name)) broken.push(`${file.path}: the name says nothing of what is inside`);
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) broken.push(`${file.path}: file names are kebab-case`);
  return broken;
}

function arrowBroken(from: string, to: string, dependencies: readonly string[]): string | undefined {
  const arrow = FORBIDDEN_ARROWS.find(([source, target]) => source.test(from) && target.test(to));
  if (arrow !== undefined) return `${from} imports ${to}: ${arrow[2]}`;
  const isKnown = /^(src|test|scripts)\/|^node:/.test(to) || dependencies.includes(packageOf(to));
  return isKnown ? undefined : `${from} imports ${to}: it is no dependency in package.json`;
}

/** What a module imports, statically or dynamically, for its values, its types or its effects. */
function importsOf(code: string): string[] {
  const patterns = [
    /\b(?:import|export)\b[^'";]*?\bfrom\s*['"]([^'"]+)['"]/g,
    /\bimport\s*\(?\s*['"]([^'"]+)['"]/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ''));
}

function resolve(from: string, specifier: string): string {
  return specifier.startsWith('.') ? path.posix.join(path.posix.dirname(from), specifier) : specifier;
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** Good enough for these rules: a `//` inside a string, as in a URL, may take the rest of its line along. */
function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/\/\/.*$/gm, '');
}
