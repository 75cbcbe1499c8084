import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import type { JobKind } from '../../contract/jobs.ts';
import { type JobReport, type JobReportOf, jobReportSchema } from '../../contract/reports.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import type { Host } from './host.ts';

/** The report of one job of a migration. */
export type WantedReport<Kind extends JobKind> = {
  readonly migrationId: string;
  readonly repository: string;
  readonly kind: Kind;
  readonly jobId: string;
};

/** Reports are bounded where they are made; a larger one is no report of ours. */
const PACKED_BYTES_MAX = 4 * 1024 * 1024;
const REPORT_BYTES_MAX = 32 * 1024 * 1024;

/**
 * Fetches a report in pages, puts it together, checks its checksum and its shape.
 *
 * @throws host-reply-malformed, job-unknown (another job of the kind has taken its place), and the errors of the host
 */
export async function fetchReport<Kind extends JobKind>(
  host: Host,
  wanted: WantedReport<Kind>,
): Promise<JobReportOf<Kind>> {
  const packed = await fetchPages(host, wanted);
  const report = parseReport(unpack(packed, wanted.kind), wanted.kind);
  if (!isReportOf(report, wanted.kind)) {
    throw malformed(wanted.kind, `it is the report of a ${report.kind} job`);
  }
  return report;
}

async function fetchPages<Kind extends JobKind>(host: Host, wanted: WantedReport<Kind>): Promise<Buffer> {
  const { kind } = wanted;
  const pages: Buffer[] = [];
  let offset = 0;
  for (;;) {
    const page = await host.call({ command: 'report', ...wanted, offset });
    if (page.totalBytes > PACKED_BYTES_MAX) throw malformed(kind, `${page.totalBytes} bytes are too many`);
    const bytes = Buffer.from(page.dataBase64, 'base64');
    pages.push(bytes);
    offset += bytes.length;
    if (offset < page.totalBytes && bytes.length > 0) continue;
    const packed = Buffer.concat(pages);
    if (packed.length !== page.totalBytes || sha256(packed) !== page.sha256) {
      throw malformed(kind, 'its checksum is wrong');
    }
    return packed;
  }
}

function unpack(packed: Buffer, kind: JobKind): string {
  try {
    return gunzipSync(packed, { maxOutputLength: REPORT_BYTES_MAX }).toString();
  } catch (error) {
    throw malformed(kind, errorText(error));
  }
}

function parseReport(text: string, kind: JobKind): JobReport {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw malformed(kind, errorText(error));
  }
  const report = jobReportSchema.safeParse(data);
  if (!report.success) throw malformed(kind, z.prettifyError(report.error));
  return report.data;
}

function isReportOf<Kind extends JobKind>(report: JobReport, kind: Kind): report is JobReportOf<Kind> {
  return report.kind === kind;
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function malformed(kind: JobKind, reason: string): MigrationError {
  return new MigrationError(
    'host-reply-malformed',
    `The report of the ${kind} job is not understood: ${reason}.`,
  );
}
