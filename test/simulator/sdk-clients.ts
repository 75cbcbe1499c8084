import { ElastiCacheClient } from '@aws-sdk/client-elasticache';
import { SSMClient } from '@aws-sdk/client-ssm';
import { STSClient } from '@aws-sdk/nested-clients/sts';
import type { Simulator } from './start.ts';

/** The SDK's own clients, set up for a simulator and ended with `using`. */
export type SdkClients = Disposable & { elasticache: ElastiCacheClient; ssm: SSMClient; sts: STSClient };

/** Opens them; they do not retry unless told, so that a test sees each answer. */
export function openClients(simulator: Simulator, maxAttempts = 1): SdkClients {
  const config = {
    endpoint: simulator.url,
    region: simulator.region,
    maxAttempts,
    credentials: {
      accessKeyId: simulator.env.AWS_ACCESS_KEY_ID ?? '',
      secretAccessKey: simulator.env.AWS_SECRET_ACCESS_KEY ?? '',
    },
  };
  const clients = {
    elasticache: new ElastiCacheClient(config),
    ssm: new SSMClient(config),
    sts: new STSClient(config),
  };
  return {
    ...clients,
    [Symbol.dispose]: () => {
      for (const client of Object.values(clients)) client.destroy();
    },
  };
}
