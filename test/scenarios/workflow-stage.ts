import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { HOST_TAG, type RoleName } from '../../scripts/identity/permissions.ts';
import { readIdentity } from '../identity/our-templates.ts';
import { allows, trusts } from '../identity/policy.ts';
import { type RunRequest, runWorkflow, type WorkflowRun } from '../runner/run-workflow.ts';
import { readWorkflow } from '../runner/workflow.ts';
import { type GithubStub, startGithubStub } from '../simulator/github-stub.ts';
import { startOidcStub } from '../simulator/oidc-stub.ts';
import { openStage, type Stage, type StageOptions } from './stage.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const SOURCE = { repository: 'acme/valkey-migrate', sha: '5ae3d2d'.padEnd(40, '0') };

/** A checkout of the real action, where there is one; else its stand-in does the same exchange. */
export const REAL_CONFIGURE_AWS_CREDENTIALS = process.env.CONFIGURE_AWS_CREDENTIALS;

/** The environments of the repository, and how many reviewers each requires. */
export const GUARDED = 'production-cutover';
const ENVIRONMENTS = { [GUARDED]: 1, open: 0 };

const ROLES: readonly RoleName[] = ['read', 'change', 'cutover'];
const AGENT = join(ROOT, 'dist', 'agent', 'index.js');

/** What a run has of its own; everything else is the same for all. */
export type RunChanges = Pick<RunRequest, 'inputs'> &
  Partial<Pick<RunRequest, 'review' | 'previous' | 'cancel' | 'secrets'>>;

/** A stage with the roles of the template behind an identity provider, and a runner before it. */
export type WorkflowStage = AsyncDisposable & {
  readonly stage: Stage;
  readonly github: GithubStub;
  /** ARNs of the roles. */
  readonly arns: Readonly<Record<RoleName, string>>;
  /** The inputs of migrate.yml that fit this stage. */
  readonly inputs: Readonly<Record<string, string | number>>;
  /** Runs a workflow that is called from acme/shop, on its branch main. */
  run(file: { name: string; content: string }, changes: RunChanges): Promise<WorkflowRun>;
};

/** Sets the stage; everything on it ends with it. */
export async function openWorkflowStage(options: StageOptions = {}): Promise<WorkflowStage> {
  await using opening = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'workflow-'));
  opening.defer(() => rm(directory, { recursive: true, force: true }));
  const stage = opening.use(await openStage(options));
  const github = opening.use(await startGithubStub(ENVIRONMENTS));
  const oidc = opening.use(await startOidcStub());
  stage.simulator.addIdentityProvider(oidc.issuer, oidc.publicKey);
  const { arns, documentPrefix } = await makeRoles(stage);
  let runs = 0;
  const owned = opening.move();
  return {
    stage,
    github,
    arns,
    inputs: {
      'replication-group-id': 'sessions',
      'aws-region': stage.simulator.region,
      'role-to-assume': arns.read,
      'change-role-to-assume': arns.change,
      'cutover-role-to-assume': arns.cutover,
      'cutover-environment': GUARDED,
      'instance-id': stage.instance.instanceId,
      'ssm-document-prefix': documentPrefix,
      'state-directory': stage.stateDirectory,
      'source-endpoint': `127.0.0.1:${stage.source.port}`,
      route: 'replica',
      'straggler-watch-seconds': 0,
    },
    run: async (file, changes) => {
      runs += 1;
      return runWorkflow({
        review: () => Promise.resolve('approved'),
        ...changes,
        workflow: await readWorkflow(file),
        source: { ...SOURCE, path: file.name },
        checkout: ROOT,
        repository: 'acme/shop',
        trigger: 'workflow_call',
        oidc,
        issueToken: github.issueToken,
        env: { AWS_ENDPOINT_URL: stage.simulator.url, GITHUB_API_URL: github.url },
        actions: {
          'aws-actions/configure-aws-credentials':
            REAL_CONFIGURE_AWS_CREDENTIALS ?? join(ROOT, 'test/runner/configure-aws-credentials'),
        },
        directory: join(directory, String(runs)),
        artifacts: join(directory, 'artifacts'),
      });
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A workflow of the repository as it is. */
export async function readWorkflowFile(name: string): Promise<{ name: string; content: string }> {
  const path = `.github/workflows/${name}`;
  return { name: path, content: await readFile(join(ROOT, path), 'utf8') };
}

/** Makes what the template makes, with its own trust and permission policies. */
async function makeRoles({ simulator, instance, stateDirectory }: Stage) {
  const identity = readIdentity({
    StateDirectory: stateDirectory,
    CutoverEnvironment: GUARDED,
    OidcProviderArn: 'arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com',
    Workflows: `${SOURCE.repository}/.github/workflows/migrate.yml@refs/heads/main`,
    AgentSha256: createHash('sha256')
      .update(await readFile(AGENT))
      .digest('hex'),
  });
  const tags = { [instance.instanceId]: { [HOST_TAG]: 'sessions' } };
  for (const role of ROLES)
    simulator.putDocument(identity.document(role).name, identity.document(role).content);
  const add = (role: RoleName) =>
    simulator.addWebIdentityRole(role, {
      trusts: (claims) => trusts(identity.trust(role), claims),
      allows: (call) => allows(identity.policy(role), call, tags),
    });
  return {
    arns: { read: add('read'), change: add('change'), cutover: add('cutover') },
    documentPrefix: identity.document('read').name.replace(/-read$/, ''),
  };
}
