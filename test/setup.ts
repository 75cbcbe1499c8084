// The suite must run on the Node of the action's runtime, not on whatever the shell finds first.
const major = Number(process.versions.node.split('.')[0]);
if (major !== 24) {
  throw new Error(`The tests run on Node 24, this is ${process.version}. Run them with: npm test`);
}
