import { ElastiCacheClient } from '@aws-sdk/client-elasticache';
import { SSMClient } from '@aws-sdk/client-ssm';

/** The two services that the action talks to. */
export type AwsClients = Disposable & { readonly elasticache: ElastiCacheClient; readonly ssm: SSMClient };

/** Attempts of one call: throttling and short outages pass below the phases. */
const ATTEMPTS_MAX = 6;

/**
 * Makes the clients; nothing is sent before the first call.
 *
 * Credentials come from the SDK's own chain (what aws-actions/configure-aws-credentials sets), and
 * `AWS_ENDPOINT_URL` is honoured by the SDK.
 */
export function openAwsClients({ region, version }: { region: string; version: string }): AwsClients {
  const options = {
    region,
    retryMode: 'adaptive',
    maxAttempts: ATTEMPTS_MAX,
    customUserAgent: [['valkey-migrate', version]] satisfies [string, string][],
  };
  const elasticache = new ElastiCacheClient(options);
  const ssm = new SSMClient(options);
  return {
    elasticache,
    ssm,
    [Symbol.dispose]: () => {
      elasticache.destroy();
      ssm.destroy();
    },
  };
}
