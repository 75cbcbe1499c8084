import { appendFileSync } from 'node:fs';

// The token of the job against credentials of the role: AssumeRoleWithWebIdentity, as the real action asks for it.
const input = (name) => process.env[`INPUT_${name.toUpperCase()}`] ?? '';
const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: right } = process.env;
try {
  if (!url || !right) throw new Error('The job may not ask for a token: id-token: write is missing.');
  const headers = { authorization: `bearer ${right}` };
  const answer = await (await fetch(`${url}&audience=sts.amazonaws.com`, { headers })).json();
  const body = new URLSearchParams({
    Action: 'AssumeRoleWithWebIdentity',
    Version: '2011-06-15',
    RoleArn: input('role-to-assume'),
    RoleSessionName: input('role-session-name'),
    DurationSeconds: input('role-duration-seconds'),
    WebIdentityToken: answer.value,
  });
  const response = await fetch(process.env.AWS_ENDPOINT_URL, { method: 'POST', body });
  const xml = await response.text();
  const member = (name) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? '';
  if (!response.ok) throw new Error(`Could not assume role with OIDC: ${member('Message')}`);
  const variables = {
    AWS_REGION: input('aws-region'),
    AWS_DEFAULT_REGION: input('aws-region'),
    AWS_ACCESS_KEY_ID: member('AccessKeyId'),
    AWS_SECRET_ACCESS_KEY: member('SecretAccessKey'),
    AWS_SESSION_TOKEN: member('SessionToken'),
  };
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])
    console.log(`::add-mask::${variables[name]}`);
  for (const [name, value] of Object.entries(variables))
    appendFileSync(process.env.GITHUB_ENV, `${name}=${value}\n`);
} catch (error) {
  console.log(`::error::${error.message}`);
  process.exitCode = 1;
}
