import type { Finding } from '../../contract/finding.ts';
import { ERROR_CODES } from '../../core/error-codes.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { readEnvironmentProtection } from '../github/environment.ts';
import type { GateInputs } from '../inputs.ts';
import type { World } from './phase.ts';

/**
 * Looks whether the environment of the cutover really asks somebody.
 *
 * GitHub makes an environment that a workflow names and that does not exist, without any rule: the gate would stand
 * open and nobody would see it.
 *
 * That no environment is named at all is the same open gate.
 */
export async function examineGate(gate: GateInputs, world: World): Promise<Finding> {
  const { environment } = gate;
  const title = 'Gate of the cutover';
  if (environment === undefined) {
    const { remedy } = ERROR_CODES['environment-unprotected'];
    const detail = 'No environment guards the cutover: `cutover-environment` is empty.';
    return {
      code: 'environment-unprotected',
      status: gate.allowUnprotected ? 'warn' : 'fail',
      title,
      detail,
      remedy,
    };
  }
  try {
    const protection = await readEnvironmentProtection({
      token: gate.githubToken,
      apiUrl: world.githubApiUrl,
      repository: world.repository,
      name: environment,
      signal: world.signal,
    });
    if (protection.exists && protection.reviewers > 0) {
      const detail = `The environment ${environment} has ${protection.reviewers} required reviewer(s).`;
      return { code: 'environment-protected', status: 'pass', title, detail, remedy: '' };
    }
    const detail = protection.exists
      ? `The environment ${environment} has no required reviewers.`
      : `There is no environment ${environment}; GitHub would make it without any rule.`;
    const { remedy } = ERROR_CODES['environment-unprotected'];
    const status = gate.allowUnprotected ? 'warn' : 'fail';
    return { code: 'environment-unprotected', status, title, detail, remedy };
  } catch (error) {
    if (!isMigrationError(error)) throw error;
    const status = gate.allowUnprotected ? 'warn' : 'fail';
    return { code: error.code, status, title, detail: error.message, remedy: error.remedy };
  }
}

/**
 * Refuses to go on through an open gate; a gate that was allowed to be open is only mentioned.
 *
 * @throws environment-unprotected, environment-unreadable
 */
export async function requireGate(
  gate: GateInputs,
  world: World,
  warn: (text: string) => void,
): Promise<void> {
  const finding = await examineGate(gate, world);
  if (finding.status === 'warn') warn(finding.detail);
  if (finding.status !== 'fail') return;
  const code = finding.code === 'environment-unreadable' ? finding.code : 'environment-unprotected';
  throw new MigrationError(code, finding.detail, { remedy: finding.remedy });
}
