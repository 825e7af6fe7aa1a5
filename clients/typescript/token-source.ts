/**
 * Client of juspay-bff for apps with HyperSDK, for React Native, Cordova, Capacitor and the web. One file
 * without dependencies: copy it into your app. docs/clients/README.md explains how to use it.
 *
 * - Keeps the client auth token in memory only, and measures its life by the monotonic clock. The phone's
 *   wall clock may be wrong: it is used only to write `authExpiry`, which the SDK compares with that clock.
 * - Callers at the same time share one request.
 * - Retries an error only if the service says so, after the time that it says, within `timeoutMs`. Network
 *   failures are retried after short waits.
 * - Calls `onLogout` only if the service rejects the access token as `invalid_token` or `expired_token`,
 *   and the renewed one too. No other error is about the user's session.
 * - Does not make DPoP proofs.
 */

/** The product: Express Checkout SDK (EC Headless), or UPI SDKs. It must equal the service's `sdk.profile`. */
export type Profile = 'ec' | 'upi';

// Generated from docs/openapi.json by tests/openapi/types.mjs.
export type Platform = 'android' | 'ios' | 'web';

/** The SDK request that the app will make. */
export type SdkAction = 'initiate' | 'process' | 'updateAuth';

/** The SDK request without its `requestId`, and what the app needs to know about the token. */
export type SdkPayload = {
  /** The `service` of the SDK request. */
  service: string;
  payload: SdkPayloadMembers;
  /** `true` if the SDK request has it beside its payload; absent otherwise. */
  betaAssets?: boolean;
  /** The tenant of the SDK (`createHyperServicesWithTenantId`), if the operator has set one. */
  tenant_id?: string;
  /** Seconds until the token must no longer be used. */
  expires_in: number;
  /** Seconds after which a request is worthwhile, because the service then starts to replace the token. */
  refresh_after: number;
  /** The `x-routing-id` for the app's own calls to Juspay with the client auth token. */
  routing_id: string;
};

/** Members of the SDK request's `payload`, by `sdk.profile` and `action`, with the operator's constants. */
export type SdkPayloadMembers = {
  /** `initiate` or `updateAuth`. With `process`, the app's own payload has it. */
  action?: string;
  /** Only with `initiate`. */
  merchantId?: string;
  /** Only with `initiate`. */
  clientId?: string;
  /** `sandbox`, `production` or `prod`. Only with `initiate`. */
  environment?: string;
  /** The merchant's id of the customer, never `cst_…`. Absent with `updateAuth`. */
  customerId?: string;
  /** The token for the SDK. */
  clientAuthToken: string;
  /** The expiry on the server's clock. Replace it by the phone's time plus `expires_in`. Only for UPI SDKs. */
  authExpiry?: string;
} & {
  [key: string]: string;
};

/** Problem details (RFC 9457). Ignore unknown members. */
export type Problem = {
  /** A URN that ends with the code. */
  type: string;
  /** English, for developers. The wording may change. */
  title: string;
  /** The status of the response. */
  status: number;
  /** English, for developers. The wording may change. */
  detail: string;
  /** Stable, for programs. Treat an unknown one by its status class; retry if `retryable` is true. */
  code: string;
  /** The `X-Request-Id` of the response. */
  request_id: string;
  /** Whether the same request may succeed later. */
  retryable: boolean;
  /** Seconds to wait before a retry, as in `Retry-After`; null if there is none. */
  retry_after: number | null;
};
// End of the generated part.

export interface Options {
  /** Address of the service, such as `https://api.example.com`, without `/me`. */
  baseUrl: string;
  /**
   * Returns the signed-in user's access token. With `renew`, the service rejected the last one: get a new one
   * from the identity provider.
   */
  accessToken: (renew: boolean) => Promise<string>;
  profile: Profile;
  /** Selects the client id, if the service has one for each platform. */
  platform?: Platform;
  /** Only for the profile `ec`, whose `initiate` payload the client builds without a request. */
  ec?: { merchantId: string; clientId: string; customerId: string; environment: string; service?: string };
  /** Called when the user must sign in again. */
  onLogout?: () => void;
  /** Called when `attach` could not answer `session_expired`. */
  onError?: (error: TokenError) => void;
  /** How `attach` passes requests to the SDK: as `'string'` (default), or `'object'` for the web SDK and Capacitor. */
  envelope?: 'string' | 'object';
  /** Time limit of a call, retries included. Keep it above the service's own limit of 5 s. */
  timeoutMs?: number;
  /** For tests. */
  transport?: Transport;
  /** For tests: what differs from the phone's clock. */
  clock?: Partial<Clock>;
}

/** A client auth token. */
export interface Token {
  readonly clientAuthToken: string;
  /** `x-routing-id`, for an app that calls Juspay itself with the token. */
  readonly routingId: string;
  /** For `createHyperServicesWithTenantId`. */
  readonly tenantId: string | undefined;
  /** How long the token lives from now on, in milliseconds. */
  remainingMs(): number;
  /** The end of its life by the phone's wall clock, right or wrong: ISO 8601 with milliseconds. */
  authExpiry(): string;
}

/** What the SDK's methods `initiate` and `process` take. */
export interface Envelope {
  requestId: string;
  service: string;
  betaAssets?: true;
  payload: Record<string, unknown>;
}

/** The part of the SDK that `attach` uses, as in `hyper-sdk-react` and `hyper-sdk-types`. */
export interface HyperServices {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  process(envelope: any): unknown;
  HyperEvent?: string;
  getHyperEventString?(): string;
}

/** React Native's `NativeEventEmitter`. */
export interface EventEmitter {
  addListener(event: string, listener: (event: unknown) => void): { remove(): void };
}

/** What `attach` returns. */
export interface Attachment {
  /** Pass each event of the SDK, unless `attach` got an emitter. True: the event is answered. */
  onEvent(event: unknown): boolean;
  detach(): void;
}

export interface HttpRequest {
  method: 'GET' | 'POST';
  url: string;
  headers: Record<string, string>;
  signal: AbortSignal;
}

export interface HttpReply {
  status: number;
  retryAfter: string | null;
  text: string;
}

export type Transport = (request: HttpRequest) => Promise<HttpReply>;

/** Times in milliseconds. */
export interface Clock {
  /** Never jumps, and is not comparable with dates. */
  monotonic(): number;
  /** The phone's date and time, which may be wrong. */
  wall(): number;
  sleep(ms: number): Promise<void>;
}

/** Why there is no token. */
export class TokenError extends Error {
  /**
   * A code of the service's documentation, or `network`, `timeout`, `unexpected_response` (not from the
   * service), `access_token` (`accessToken` failed), `signed_out` (`invalidate` was called) or `internal` (a
   * fault of this client or of a function that the app passed).
   */
  readonly code: string;
  readonly status: number;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** Seconds to wait before that. */
  readonly retryAfter: number | undefined;
  /** For error reports: the operator finds the cause with it. */
  readonly requestId: string | undefined;
  /** The failure of `accessToken` or of the network. */
  readonly reason: unknown;

  constructor(
    code: string,
    status: number,
    retryable: boolean,
    retryAfter?: number,
    requestId?: string,
    reason?: unknown,
  ) {
    super(requestId ? `${code} (request ${requestId})` : code);
    this.name = 'TokenError';
    this.code = code;
    this.status = status;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
    this.requestId = requestId;
    this.reason = reason;
    // For compilers with an old target.
    Object.setPrototypeOf(this, TokenError.prototype);
  }
}

/** A token with its times on the monotonic clock. `order` numbers requests by their start. */
interface HeldToken extends Token {
  readonly refreshAt: number;
  readonly order: number;
  uses: number;
}

interface Loaded {
  answer: SdkPayload;
  token: HeldToken;
}

interface Flight {
  minFresh: number;
  isShort: boolean;
  loaded: Promise<Loaded>;
}

interface Call<T> {
  method: 'GET' | 'POST';
  path: string;
  directives: Record<string, string>;
  /** There is a usable token, so one short attempt is enough. */
  isShort: boolean;
  read: (reply: HttpReply) => T | TokenError;
}

/** The access token within one call. `renew`: the service rejected it. `isRenewed`: there was another since. */
interface AccessState {
  renew: boolean;
  isRenewed: boolean;
}

/** `sentAt`: on the monotonic clock. */
interface Success<T> {
  result: T;
  sentAt: number;
}

const MAX_ATTEMPTS = 4;
/** The service's own limit is 5 s. */
const MAX_ATTEMPT_MS = 6000;
/** Time limit of a call while there is a usable token. */
const SHORT_CALL_MS = 2000;
/** Rounds of `timeoutMs` in which `attach` tries to answer an event. */
const MAX_ROUNDS = 3;
/** The payment screen does not wait longer for the next round. */
const MAX_ROUND_WAIT_MS = 60_000;
/** A token with less life left is not used, also if there is no other. */
const MIN_LIFE_MS = 10_000;
/** Juspay limits the uses of a token. The service replaces it in time, if it sees about a third of the uses. */
const MAX_USES = 3;
/** A proxy's 4xx that may be gone at the next attempt: Request Timeout, Too Early, Too Many Requests. */
const GATEWAYS_RETRYABLE = [408, 425, 429];
/** Their token is that of Create Order. */
const ORDER_ACTIONS = ['cardTxn', 'nbTxn', 'walletTxn', 'upiTxn'];

/** The source of one user's client auth tokens. Create it at sign-in, and call `invalidate` at sign-out. */
export class TokenSource {
  private readonly options: Options;
  private readonly clock: Clock;
  private readonly transport: Transport;
  private readonly timeoutMs: number;
  private token: HeldToken | undefined;
  private readonly answers = new Map<SdkAction, SdkPayload>();
  private readonly flights = new Map<SdkAction, Flight>();
  private renewal: Promise<Loaded> | undefined;
  private accessTokenRenewal: Promise<string> | undefined;
  /** The last token that the SDK rejected. It is never returned again. */
  private ended: string | undefined;
  /** There is no other token yet. */
  private mustRenew = false;
  /** The text of the newest token, also after `wake`. */
  private latest: string | undefined;
  /** Counts users. */
  private generation = 0;
  /** Counts returns from the background. */
  private wakes = 0;
  private requests = 0;

  constructor(options: Options) {
    this.options = options;
    this.clock = { ...systemClock, ...options.clock };
    this.transport = options.transport ?? fetchTransport;
    this.timeoutMs = options.timeoutMs ?? 10_000;
  }

  /**
   * Returns a client auth token, from memory if possible. `minFresh`: seconds that it should live, for a step
   * that takes long. If no token lives that long, returns the best one.
   */
  async fetch(minFresh = 0): Promise<Token> {
    return (await this.load('any', minFresh)).token;
  }

  /** Returns a new token, because the SDK rejected the last one. Never returns the last one again. */
  async refresh(): Promise<Token> {
    this.endLatest();
    return counted(await this.renew()).token;
  }

  /** Forgets the user, at sign-out. Calls in progress fail with `signed_out`. */
  invalidate(): void {
    this.generation += 1;
    this.wake();
    this.ended = undefined;
    this.mustRenew = false;
    this.latest = undefined;
    this.renewal = undefined;
    this.accessTokenRenewal = undefined;
  }

  /**
   * Forgets how long the token lives: when the app returns from the background, because some engines' monotonic clock
   * stands still while the phone sleeps. The next call goes to the service. A running renewal goes on.
   */
  wake(): void {
    this.wakes += 1;
    this.token = undefined;
    this.answers.clear();
    this.flights.clear();
  }

  /**
   * Has the service fetch the token in advance, for example when the app starts. Never fails. Don't wait for it:
   * without a network it ends after `timeoutMs`.
   */
  async prepare(): Promise<void> {
    try {
      const read = () => undefined;
      await this.call({ method: 'POST', path: '/me/prepare', directives: {}, isShort: false, read }, 1);
    } catch {
      // The next call reports the error.
    }
  }

  /** The request for the SDK's `initiate`. Call that once: a second call is the SDK's error JP_017. */
  async initiate(): Promise<Envelope> {
    const { ec, profile } = this.options;
    if (profile === 'upi') {
      return this.envelope(await this.load('initiate', 0), {});
    }
    if (!ec) {
      throw new TypeError('the profile ec needs options.ec');
    }
    const { service = 'in.juspay.hyperapi', merchantId, clientId, customerId, environment } = ec;
    const payload = { action: 'initiate', merchantId, clientId, customerId, environment };
    return { requestId: uuid(), service, payload };
  }

  /**
   * The request for the SDK's `process` that works on the customer: your own payload with `action`, such as
   * `{action: 'cardList'}` (ec) or `{action: 'management'}` (upi), plus token and customer.
   */
  async process(own: { action: string; [member: string]: unknown }, minFresh = 0): Promise<Envelope> {
    if (ORDER_ACTIONS.includes(own.action) || 'clientAuthToken' in own) {
      throw new TypeError(`${own.action} takes the token of Create Order: build its payload yourself`);
    }
    return this.envelope(await this.load('process', minFresh), own);
  }

  /**
   * Answers the SDK's `session_expired` with a new token, without calling `initiate` again. In React Native,
   * pass an emitter; elsewhere pass each event to `onEvent` of the result.
   */
  attach(hyperServices: HyperServices, emitter?: EventEmitter): Attachment {
    let isAttached = true;
    const onEvent = (event: unknown): boolean => {
      const payload = isAttached ? expiryEvent(event) : undefined;
      if (!payload) {
        return false;
      }
      if (this.options.profile === 'ec') {
        // This SDK knows no updateAuth: the next `process` has a new token.
        this.endLatest();
        return false;
      }
      this.endLatest();
      const { generation } = this;
      void this.answerExpiry(hyperServices, payload.reqCode, () => isAttached && generation === this.generation);
      return true;
    };
    const name = hyperServices.getHyperEventString?.() ?? hyperServices.HyperEvent ?? 'HyperEvent';
    const subscription = emitter?.addListener(name, onEvent);
    const detach = () => {
      isAttached = false;
      subscription?.remove();
    };
    return { onEvent, detach };
  }

  private async answerExpiry(
    hyperServices: HyperServices,
    reqCode: unknown,
    isWanted: () => boolean,
  ): Promise<void> {
    for (let round = 1; isWanted(); round += 1) {
      try {
        const loaded = counted(await this.renew());
        const envelope = this.envelope(loaded, reqCode === undefined ? {} : { reqCode });
        if (isWanted()) {
          await hyperServices.process(this.options.envelope === 'object' ? envelope : JSON.stringify(envelope));
        }
        return;
      } catch (error) {
        const why = asTokenError(error);
        const wait = waitMs(why, round);
        if (!why.retryable || round === MAX_ROUNDS || wait > MAX_ROUND_WAIT_MS) {
          tell(() => isWanted() && this.options.onError?.(why));
          return;
        }
        await this.clock.sleep(wait);
      }
    }
  }

  /** The token, with the answer for `action`: from memory, from a running request, or from a new one. */
  private async load(action: SdkAction | 'any', minFresh: number): Promise<Loaded> {
    const { generation } = this;
    while (this.mustRenew) {
      await this.renew();
      this.checkUser(generation);
    }
    const answer = this.answerFor(action);
    const held = this.token && answer && { answer, token: this.token };
    const now = this.clock.monotonic();
    const isFresh = held && now < held.token.refreshAt && held.token.remainingMs() >= minFresh * 1000;
    if (isFresh && held.token.uses < MAX_USES) {
      return counted(held);
    }
    const isUsable = () =>
      held !== undefined &&
      held.token.remainingMs() > MIN_LIFE_MS &&
      this.token === held.token &&
      !this.mustRenew;
    try {
      const loaded = await this.join(action === 'any' ? 'process' : action, minFresh, isUsable());
      return counted(await this.newest(loaded));
    } catch (error) {
      const why = asTokenError(error);
      if (held && isUsable() && !isAboutUser(why)) {
        return held;
      }
      throw why;
    }
  }

  /** From memory. The `process` of UPI SDKs takes what `initiate` takes, without some members. */
  private answerFor(action: SdkAction | 'any'): SdkPayload | undefined {
    if (action === 'any') {
      return this.answers.values().next().value;
    }
    const initiate = this.answers.get('initiate');
    if (action !== 'process' || this.answers.has(action) || !initiate) {
      return this.answers.get(action);
    }
    const payload = { ...initiate.payload };
    for (const member of ['action', 'merchantId', 'clientId', 'environment']) {
      delete payload[member];
    }
    return { ...initiate, payload };
  }

  private join(action: SdkAction, minFresh: number, isShort: boolean): Promise<Loaded> {
    const running = this.flights.get(action);
    if (running && running.minFresh >= minFresh && running.isShort === isShort) {
      return running.loaded;
    }
    const directives: Record<string, string> = {};
    if (minFresh > 0) {
      directives['Cache-Control'] = `min-fresh=${Math.ceil(minFresh)}`;
    }
    const loaded = this.request(action, directives, isShort);
    const flight = { minFresh, isShort, loaded };
    this.flights.set(action, flight);
    const end = () => {
      if (this.flights.get(action) === flight) {
        this.flights.delete(action);
      }
    };
    loaded.then(end, end);
    return loaded;
  }

  /**
   * A request can return the token that the SDK rejected: if it started before the renewal, or if another replica of
   * the service still has that token.
   */
  private async newest({ answer, token }: Loaded): Promise<Loaded> {
    if (token.clientAuthToken !== this.ended) {
      return { answer, token };
    }
    const isOlder = !this.mustRenew && this.token && this.token.order > token.order;
    return { answer, token: isOlder && this.token ? this.token : (await this.renew()).token };
  }

  /** The SDK rejected the newest token: until there is another, no call returns one. */
  private endLatest(): void {
    if (!this.mustRenew) {
      this.mustRenew = true;
      this.ended = this.latest;
    }
  }

  /** Gets a new token. */
  private renew(): Promise<Loaded> {
    if (this.renewal) {
      return this.renewal;
    }
    const renewal = this.requestNew();
    this.renewal = renewal;
    const end = () => {
      if (this.renewal === renewal) {
        this.renewal = undefined;
      }
    };
    renewal.then(end, end);
    return renewal;
  }

  private async requestNew(): Promise<Loaded> {
    const loaded = await (this.options.profile === 'upi'
      ? this.request('updateAuth', {}, false)
      : this.request('process', {}, false, '&new_token=true'));
    this.mustRenew = false;
    return loaded;
  }

  private async request(
    action: SdkAction,
    directives: Record<string, string>,
    isShort: boolean,
    option = '',
  ): Promise<Loaded> {
    const { generation, wakes } = this;
    const order = (this.requests += 1);
    const platform = this.options.platform ? `&platform=${this.options.platform}` : '';
    const path = `/me/sdk-payload?action=${action}${platform}${option}`;
    const call: Call<SdkPayload> = { method: 'GET', path, directives, isShort, read: readAnswer };
    const { result: answer, sentAt } = await this.call(call, isShort ? 1 : MAX_ATTEMPTS);
    this.checkUser(generation);
    const token = this.held(answer, sentAt, order);
    const isNewest = !this.token || this.token.order < order;
    if (isNewest && token.clientAuthToken !== this.ended) {
      this.latest = token.clientAuthToken;
      // The phone may have slept meanwhile.
      this.token = wakes === this.wakes ? token : undefined;
    }
    if (wakes === this.wakes) {
      this.answers.set(action, answer);
    }
    return { answer, token };
  }

  private checkUser(generation: number): void {
    if (generation !== this.generation) {
      throw new TokenError('signed_out', 0, false);
    }
  }

  /** A token whose life counts from the sending of the request, so never too long. */
  private held(answer: SdkPayload, sentAt: number, order: number): HeldToken {
    const { clock } = this;
    const remainingMs = () => sentAt + answer.expires_in * 1000 - clock.monotonic();
    return {
      clientAuthToken: answer.payload['clientAuthToken'] ?? '',
      routingId: answer.routing_id,
      tenantId: answer.tenant_id,
      remainingMs,
      authExpiry: () => new Date(clock.wall() + remainingMs()).toISOString(),
      refreshAt: sentAt + answer.refresh_after * 1000,
      order,
      uses: 0,
    };
  }

  private envelope({ answer, token }: Loaded, own: Record<string, unknown>): Envelope {
    const payload: Record<string, unknown> = { ...answer.payload, ...own };
    payload['clientAuthToken'] = token.clientAuthToken;
    if ('customerId' in answer.payload) {
      payload['customerId'] = answer.payload['customerId'];
    }
    if ('authExpiry' in answer.payload) {
      payload['authExpiry'] = token.authExpiry();
    }
    const envelope: Envelope = { requestId: uuid(), service: answer.service, payload };
    return answer.betaAssets ? { ...envelope, betaAssets: true } : envelope;
  }

  /** Sends a request until it succeeds, must not be repeated, or time is up. */
  private async call<T>(call: Call<T>, attempts: number): Promise<Success<T>> {
    const { clock, generation } = this;
    const deadline = clock.monotonic() + (call.isShort ? Math.min(SHORT_CALL_MS, this.timeoutMs) : this.timeoutMs);
    const access: AccessState = { renew: false, isRenewed: false };
    for (let attempt = 1; ; attempt += 1) {
      const outcome: Success<T> | TokenError = await this.attempt(call, access, deadline);
      if (!(outcome instanceof TokenError)) {
        return outcome;
      }
      const isRejected = isAccessTokenRejected(outcome) && generation === this.generation;
      if (isRejected && !access.renew) {
        access.renew = true;
        attempt -= 1;
        continue;
      }
      if (isRejected) {
        this.invalidate();
        tell(() => this.options.onLogout?.());
        throw outcome;
      }
      const wait = waitMs(outcome, attempt);
      const mayRepeat = outcome.retryable && outcome.code !== 'access_token' && attempt < attempts;
      if (!mayRepeat || clock.monotonic() + wait >= deadline) {
        throw outcome;
      }
      await clock.sleep(wait);
      this.checkUser(generation);
    }
  }

  /** Sends a request once. */
  private async attempt<T>(call: Call<T>, access: AccessState, deadline: number): Promise<Success<T> | TokenError> {
    const { clock, generation } = this;
    const { method, path, directives, read } = call;
    const renew = access.renew && !access.isRenewed;
    let accessToken: string | TokenError;
    try {
      accessToken = await within(deadline - clock.monotonic(), this.accessToken(renew));
    } catch (cause) {
      return new TokenError('access_token', 0, true, undefined, undefined, cause);
    }
    if (accessToken instanceof TokenError) {
      return accessToken;
    }
    this.checkUser(generation);
    access.isRenewed ||= renew;
    const headers = { Authorization: `Bearer ${accessToken}`, Accept: 'application/json', ...directives };
    const url = this.options.baseUrl.replace(/\/+$/, '') + path;
    const sentAt = clock.monotonic();
    const abort = new AbortController();
    try {
      const sent = this.transport({ method, url, headers, signal: abort.signal });
      const reply = await within(Math.min(deadline - sentAt, MAX_ATTEMPT_MS), sent);
      const result = reply instanceof TokenError ? reply : (failure(reply) ?? read(reply));
      return result instanceof TokenError ? result : { result, sentAt };
    } catch (cause) {
      return new TokenError('network', 0, true, undefined, undefined, cause);
    } finally {
      abort.abort();
    }
  }

  /** The access token. Calls at the same time share one renewal. */
  private accessToken(renew: boolean): Promise<string> {
    if (!renew) {
      return this.options.accessToken(false);
    }
    if (!this.accessTokenRenewal) {
      const renewal = this.options.accessToken(true);
      this.accessTokenRenewal = renewal;
      const end = () => {
        if (this.accessTokenRenewal === renewal) {
          this.accessTokenRenewal = undefined;
        }
      };
      // One that never ends is not waited for again.
      void within(this.timeoutMs, renewal).then(end, end);
    }
    return this.accessTokenRenewal;
  }
}

/** The result of `work`, or the error `timeout`. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | TokenError> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<TokenError>((resolve) => {
    timer = setTimeout(() => resolve(new TokenError('timeout', 0, true)), Math.max(ms, 0));
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Counts a use of the token. */
function counted(loaded: Loaded): Loaded {
  loaded.token.uses += 1;
  return loaded;
}

/** Calls a function of the app. Its failure is the app's own, and does not change what the client does. */
function tell(callback: () => void): void {
  try {
    callback();
  } catch {
    // See above.
  }
}

/** The only two codes about the user's session. A 401 of a proxy in front has no code. */
function isAccessTokenRejected({ status, code }: TokenError): boolean {
  return status === 401 && (code === 'invalid_token' || code === 'expired_token');
}

/** The service rejects this user, or the user is gone: no token in memory may be used instead. */
function isAboutUser({ status, code }: TokenError): boolean {
  return code === 'signed_out' || ((status === 401 || status === 403) && code !== 'unexpected_response');
}

/** `undefined` for a success. */
function failure(reply: HttpReply): TokenError | undefined {
  const { status, text } = reply;
  if (status === 200 || status === 202) {
    return undefined;
  }
  const problem = parsed(text) as Partial<Problem> | undefined;
  if (typeof problem?.code !== 'string' || typeof problem.retryable !== 'boolean') {
    const retryable = status < 400 || status >= 500 || GATEWAYS_RETRYABLE.includes(status);
    return new TokenError('unexpected_response', status, retryable, seconds(Number(reply.retryAfter || NaN)));
  }
  const { code, retryable, retry_after: wait, request_id: requestId } = problem;
  return new TokenError(code, status, retryable, seconds(wait), requestId);
}

function seconds(wait: unknown): number | undefined {
  return typeof wait === 'number' && Number.isFinite(wait) && wait >= 0 ? wait : undefined;
}

function readAnswer({ status, text }: HttpReply): SdkPayload | TokenError {
  const answer = parsed(text) as unknown as SdkPayload | undefined;
  const isComplete =
    typeof answer?.payload?.['clientAuthToken'] === 'string' &&
    typeof answer.service === 'string' &&
    typeof answer.expires_in === 'number' &&
    typeof answer.refresh_after === 'number';
  // Anything else, such as the page of a public wireless network, is not from the service.
  return answer && isComplete ? answer : new TokenError('unexpected_response', status, true);
}

/** The payload of `session_expired`, as documented, or of `session_expiry`, as one app sees it. */
function expiryEvent(event: unknown): { reqCode?: unknown } | undefined {
  const object = typeof event === 'string' ? parsed(event) : (event as Record<string, unknown> | null | undefined);
  if (object?.['event'] !== 'session_expired' && object?.['event'] !== 'session_expiry') {
    return undefined;
  }
  const payload = object['payload'];
  return typeof payload === 'object' && payload !== null ? payload : {};
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function asTokenError(error: unknown): TokenError {
  return error instanceof TokenError ? error : new TokenError('internal', 0, false, undefined, undefined, error);
}

/** What the service says, else 0.5 s, 1 s, 2 s, 4 s, up to half of it less. */
function waitMs({ retryAfter }: TokenError, attempt: number): number {
  const backoff = Math.min(500 * 2 ** (attempt - 1), 4000);
  return retryAfter === undefined ? backoff * (1 - Math.random() / 2) : retryAfter * 1000;
}

/** A version 4 UUID. It is no secret, so a weak generator of an old engine is good enough. */
function uuid(): string {
  return 'xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx'.replace(/[xy]/g, (digit) => {
    const random = Math.floor(Math.random() * 16);
    return (digit === 'x' ? random : 8 + (random % 4)).toString(16);
  });
}

const systemClock: Clock = {
  // React Native has it, but not its type.
  monotonic: () => (globalThis as unknown as { performance: { now(): number } }).performance.now(),
  wall: () => Date.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

/**
 * No `cache` option: with `no-store`, browsers send `Cache-Control: no-cache`, which demands a new token. No redirects:
 * the service has none, and the access token is not for another server.
 */
const fetchTransport: Transport = async ({ method, url, headers, signal }) => {
  const response = await fetch(url, { method, headers, signal, credentials: 'omit', redirect: 'manual' });
  return { status: response.status, retryAfter: response.headers.get('Retry-After'), text: await response.text() };
};
