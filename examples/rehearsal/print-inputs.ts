import { readFileSync } from 'node:fs';
import { type StackOutputs, workflowInputs } from './workflow-inputs.ts';

// npm run inputs -- aws-region=… role-to-assume=… cutover-environment=…: the inputs of the workflow as JSON, for
// `gh workflow run migrate.yml --json`. Reads outputs.json, which npm run deploy leaves.

const given = process.argv.slice(2).map((pair) => {
  const at = pair.indexOf('=');
  if (at < 1) throw new Error(`Expected name=value, not ${pair}`);
  return [pair.slice(0, at), pair.slice(at + 1)];
});
const outputs: StackOutputs = JSON.parse(readFileSync(new URL('outputs.json', import.meta.url), 'utf8'));
console.log(JSON.stringify(workflowInputs(outputs, Object.fromEntries(given)), null, 2));
