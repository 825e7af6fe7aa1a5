/**
 * A stand-in for an app with React Native or the web SDK: runs the TypeScript client by the commands of
 * scenarios.py, one JSON document a line on standard input, and reports what the app and its SDK get.
 */
import { createInterface } from 'node:readline';
import type HyperSdkReact from 'hyper-sdk-react';
import type { HyperServiceInstance } from 'hyper-sdk-react';
import { TokenError, TokenSource } from '../../clients/typescript/token-source';
import type { Attachment, Clock, EventEmitter, HyperServices, Options, Token } from '../../clients/typescript/token-source';

// The client takes the real SDK's objects as they are.
type IsHyperServices<T extends HyperServices> = T;
export type Checked = [IsHyperServices<typeof HyperSdkReact>, IsHyperServices<HyperServiceInstance>];

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Json = any;

const config: Json = JSON.parse(process.argv[2] ?? '');
const asked = new Map<number, (answer: Json) => void>();
let asks = 0;
let wallOffset = 0;
let advanced = 0;

// The phone's clocks, as the client's default clock reads them.
const [realNow, realDate] = [performance.now.bind(performance), Date.now.bind(Date)];
performance.now = () => realNow() + advanced;
Date.now = () => realDate() + wallOffset;

const write = (message: Json) => process.stdout.write(`${JSON.stringify(message)}\n`);

function ask(question: Json): Promise<Json> {
  asks += 1;
  write({ ask: asks, ...question });
  return new Promise((resolve) => asked.set(asks, resolve));
}

const clock: Partial<Clock> = {
  sleep: async (ms) => {
    await ask({ what: 'sleep', ms });
    advanced += ms;
  },
};

const failure = (error: unknown): Json =>
  error instanceof TokenError
    ? { code: error.code, status: error.status, retryable: error.retryable, retryAfter: error.retryAfter ?? null }
    : { code: 'exception', message: String(error) };

const options: Options = {
  ...config,
  clock,
  accessToken: async (renew) => {
    const answer = await ask({ what: 'accessToken', renew });
    if (typeof answer !== 'string') {
      throw new Error('no access token');
    }
    return answer;
  },
  onLogout: () => write({ tell: 'logout' }),
  onError: (error) => {
    write({ tell: 'error', error: failure(error) });
    if (config.appFails) {
      throw new Error("the app's fault");
    }
  },
};
const tokens = new TokenSource(options);

const hyperServices: HyperServices = {
  HyperEvent: 'HyperEvent',
  process(envelope: string | object) {
    if (config.appFails) {
      throw new Error("the app's fault");
    }
    const isString = typeof envelope === 'string';
    write({ tell: 'process', form: typeof envelope, envelope: isString ? JSON.parse(envelope) : envelope });
  },
};
let listener: ((event: unknown) => void) | undefined;
const emitter: EventEmitter = {
  addListener(event, added) {
    if (event === 'HyperEvent') {
      listener = added;
    }
    return { remove: () => (listener = undefined) };
  },
};
let attachment: Attachment | undefined;

const shown = (token: Token) => ({
  token: token.clientAuthToken,
  remainingMs: token.remainingMs(),
  authExpiry: token.authExpiry(),
  routingId: token.routingId,
});

/** React Native's SDK emits texts, the web SDK objects. */
function emit(event: Json): void {
  if (config.envelope === 'object') {
    attachment?.onEvent(event);
  } else {
    listener?.(JSON.stringify(event));
  }
}

async function run(command: Json): Promise<Json> {
  switch (command.do) {
    case 'fetch':
      return shown(await tokens.fetch(command.minFresh));
    case 'refresh':
      return shown(await tokens.refresh());
    case 'initiate':
      return tokens.initiate();
    case 'process':
      return tokens.process(command.own, command.minFresh);
    case 'prepare':
      return tokens.prepare();
    case 'invalidate':
      return tokens.invalidate();
    case 'wake':
      return tokens.wake();
    case 'attach':
      attachment = tokens.attach(hyperServices, config.envelope === 'object' ? undefined : emitter);
      return undefined;
    case 'detach':
      return attachment?.detach();
    case 'event':
      return emit(command.event);
    case 'set_wall_clock':
      wallOffset = command.ms;
      return undefined;
    case 'advance':
      advanced += command.ms;
      return undefined;
    default:
      return undefined;
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line);
  if (command.do === 'answer') {
    asked.get(command.ask)?.(command.value);
    return;
  }
  run(command).then(
    (result) => write({ id: command.id, result: result ?? null }),
    (error) => write({ id: command.id, error: failure(error) }),
  );
});
