import { appendFileSync } from 'node:fs';

// What comes after in the job has no credentials any more.
for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])
  appendFileSync(process.env.GITHUB_ENV, `${name}=\n`);
