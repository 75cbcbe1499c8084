import type { JobRequest } from '../../contract/jobs.ts';
import type { JobReport } from '../../contract/reports.ts';
import { assertNever } from '../../core/assert.ts';
import { runBackup } from '../backup/job.ts';
import { runBenchmark } from '../benchmark/job.ts';
import { runCutover } from '../cutover/job.ts';
import { runKeeper } from '../cutover/keeper.ts';
import { runRollback } from '../cutover/rollback.ts';
import { runStragglers } from '../cutover/stragglers.ts';
import { runUnfence } from '../cutover/unfence.ts';
import { runLatency } from '../latency/job.ts';
import { runLink } from '../link/job.ts';
import { runPreflight } from '../preflight/job.ts';
import { runVerifyAndRepair } from '../repair/job.ts';
import { runScanSync } from '../scan/job.ts';
import { runSync } from '../sync/job.ts';
import { runVerify } from '../verify/job.ts';
import type { JobContext } from './context.ts';

/** Does the job that the request asks for. */
export function dispatchJob(request: JobRequest, context: JobContext): Promise<JobReport> {
  switch (request.kind) {
    case 'preflight':
      return runPreflight(request, context);
    case 'backup':
      return runBackup(request, context);
    case 'sync':
      return request.route === 'scan' ? runScanSync(request, context) : runSync(request, context);
    case 'link':
      return runLink(request, context);
    case 'verify':
      return request.repair === undefined
        ? runVerify(request, context)
        : runVerifyAndRepair({ ...request, repair: request.repair }, context);
    case 'cutover':
      return runCutover(request, context);
    case 'keeper':
      return runKeeper(request, context);
    case 'stragglers':
      return runStragglers(request, context);
    case 'latency':
      return runLatency(request, context);
    case 'benchmark':
      return runBenchmark(request, context);
    case 'unfence':
      return runUnfence(request, context);
    case 'rollback':
      return runRollback(request, context);
    default:
      return assertNever(request);
  }
}
