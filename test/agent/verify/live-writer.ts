import type { Redis } from 'ioredis';

/** A writer that goes on until it is disposed of, one pipeline after the other. */
export type LiveWriter = AsyncDisposable & { readonly commands: number };

const COMMANDS_PER_PIPELINE = 40;

/** Starts writing to hot and to many keys of every type, as fast as the server takes it. */
export function startLiveWriter(client: Redis): LiveWriter {
  let commands = 0;
  let isStopped = false;
  const write = async () => {
    for (let round = 0; !isStopped; round++) {
      const pipeline = client.pipeline();
      for (let index = 0; index < COMMANDS_PER_PIPELINE; index++) addCommand(pipeline, round, index);
      commands += COMMANDS_PER_PIPELINE;
      const failed = (await pipeline.exec())?.find(([error]) => error !== null);
      if (failed?.[0]) throw failed[0];
    }
  };
  const writing = write();
  return {
    get commands() {
      return commands;
    },
    [Symbol.asyncDispose]: async () => {
      isStopped = true;
      await writing;
    },
  };
}

function addCommand(pipeline: ReturnType<Redis['pipeline']>, round: number, index: number): void {
  const spread = (round * 7919 + index * 104_729) % 5000;
  switch (index % 16) {
    case 0:
      pipeline.incr('hot:counter');
      break;
    case 1:
      pipeline.hset('hot:hash', 'moving', round, `spread${spread}`, round);
      break;
    case 2:
      pipeline.lpush('hot:queue', `job${round}`);
      pipeline.rpop('hot:queue');
      break;
    case 3:
      pipeline.zincrby('hot:scores', 0.1, `m${spread % 50}`);
      break;
    case 4:
      pipeline.set('hot:toggle', round % 2);
      break;
    case 5:
      if (round % 2 === 0) pipeline.del('hot:comes-and-goes');
      else pipeline.rpush('hot:comes-and-goes', round);
      break;
    case 6:
      pipeline.xadd('hot:stream', 'MAXLEN', '~', 500, '*', 'round', round);
      // Takes the consumer's pending entries along, which would grow without end.
      if (round % 64 === 0) pipeline.call('XGROUP', 'DELCONSUMER', 'hot:stream', 'g', `c${(round / 64) % 2}`);
      pipeline.call('XREADGROUP', 'GROUP', 'g', `c${round % 2}`, 'COUNT', '1', 'STREAMS', 'hot:stream', '>');
      break;
    case 7:
      pipeline.set(`short:${spread}`, round, 'PX', 20 + (spread % 200));
      break;
    case 8:
      pipeline.sadd('hot:set', spread);
      pipeline.srem('hot:set', (spread + 2500) % 5000);
      break;
    case 9:
      pipeline.set(`type:${spread % 20}`, round);
      pipeline.del(`type:${(spread + 1) % 20}`);
      pipeline.sadd(`type:${(spread + 1) % 20}`, round);
      break;
    case 10:
      pipeline.setrange('hot:long', (spread * 37) % 200_000, `round${round}`);
      break;
    case 11:
      pipeline.expire(`spread:${spread}`, 1000 + (round % 100));
      break;
    case 12:
      pipeline.del(`spread:${spread}`);
      break;
    default:
      pipeline.set(`spread:${spread}`, `value ${round}`);
  }
}
