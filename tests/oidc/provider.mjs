// A real OpenID provider (oidc-provider), on a loopback port that the kernel chooses.
//
// Its first line on standard output is its issuer URL. From then on each line on standard input is
// an order (`obey`), and is answered by a line that tells how many requests each path has had. It
// ends with its standard input, so that none outlives its test. It lives by the test's clock.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Provider } from 'oidc-provider';
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';

// Standard output is for answers.
console.info = console.warn;

let now = Date.now();
globalThis.Date = class extends Date {
  constructor(...parts) {
    super(...(parts.length === 0 ? [now] : parts));
  }

  static now() {
    return now;
  }
};

// One key for each type; those of RSA sign with any of its algorithms.
const newKeys = () => [
  ['ec', { namedCurve: 'P-256' }],
  ['ec', { namedCurve: 'P-384' }],
  ['rsa', { modulusLength: 2048 }],
  ['ed25519'],
].map((kind) => {
  const { privateKey } = generateKeyPairSync(...kind);
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig' };
});

let keys = newKeys();
let secret = randomBytes(16).toString('hex');
let logoutUri;
let recipe;
let login = {};
let held;
let isDown = false;
let provider;
const requests = {};
const cookieKeys = [randomBytes(16).toString('hex')];

const clients = () => [
  {
    client_id: login.client ?? 'app',
    token_endpoint_auth_method: 'none',
    redirect_uris: ['https://app.example/back'],
    id_token_signed_response_alg: login.alg ?? 'ES256',
    ...(logoutUri && {
      backchannel_logout_uri: logoutUri,
      backchannel_logout_session_required: true,
    }),
  },
  {
    client_id: 'the bff: it asks',
    client_secret: secret,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'ES256',
  },
];

// A resource's origin is the audience, and its path tells the format: the algorithm that its tokens
// are signed with, or `opaque`.
function resourceServer(_ctx, resource) {
  const { origin: audience, pathname } = new URL(resource);
  const alg = pathname.slice(1);
  const format = alg === 'opaque'
    ? { accessTokenFormat: 'opaque' }
    : { accessTokenFormat: 'jwt', jwt: { sign: { alg } } };
  return { audience, scope: 'pay', ...format };
}

// Nobody is asked for consent.
async function grantAll({ oidc }) {
  const grant = new provider.Grant({
    clientId: oidc.client.clientId,
    accountId: oidc.session.accountId,
  });
  grant.addOIDCScope('openid');
  Object.keys(oidc.resourceServers).forEach((resource) => grant.addResourceScope(resource, 'pay'));
  await grant.save();
  return grant;
}

// An access token of another provider's shape: the claims and header of the recipe, in this provider's time
// (but for fractions of seconds) and with its keys.
function shape(_ctx, _token, jwt) {
  if (recipe === undefined) {
    return;
  }
  const { iat, exp } = jwt.payload;
  const times = { iat, exp, nbf: iat, auth_time: iat };
  const now = (claim, value) => (claim in times ? times[claim] + (value % 1) : value);
  const payload = Object.fromEntries(
    Object.entries(recipe.payload).map(([claim, value]) => [claim, now(claim, value)]),
  );
  if (payload.aud === undefined) {
    // The library issues no token without an audience. JSON leaves out what is not enumerable.
    Object.defineProperty(payload, 'aud', { value: 'none', writable: true });
  }
  const { alg, kid, ...header } = { typ: 'JWT', ...recipe.header };
  Object.assign(jwt, { header, payload });
}

// Claims that ID tokens take from the user; the library itself makes those of the protocol.
function claimsOfUsers() {
  const protocol = [
    'acr', 'amr', 'at_hash', 'aud', 'auth_time', 'c_hash', 'exp', 'iat', 'iss', 'jti', 'nbf', 'nonce',
    'sid', 'sub',
  ];
  return Object.keys(recipe?.payload ?? {}).filter((claim) => !protocol.includes(claim));
}

// Another provider in the place of the one before, which issues, knows and remembers the same but
// for what an order has changed: keys and clients are fixed when it is made.
function rebuild() {
  provider = new Provider(login.issuer ?? issuer, {
    // The default, named, so that it doesn't warn; what is in it outlives a provider.
    adapter: (model) => new MemoryAdapter(model),
    jwks: { keys },
    clients: clients(),
    cookies: { keys: cookieKeys },
    claims: { openid: ['sub', ...claimsOfUsers()] },
    findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ ...recipe?.payload, sub }) }),
    formats: { customizers: { jwt: shape } },
    loadExistingGrant: grantAll,
    // Logouts are told in 2.5 s else, which a busy machine may need.
    httpOptions: () => ({ signal: AbortSignal.timeout(30_000) }),
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    ttl: {
      AccessToken: 3600,
      AuthorizationCode: 60,
      ClientCredentials: 3600,
      Grant: 86400,
      IdToken: 3600,
      Interaction: 3600,
      Session: 86400,
    },
    enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256'] },
    features: {
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: true },
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, { clientId }) => clientId === 'the bff: it asks',
      },
      resourceIndicators: { enabled: true, getResourceServerInfo: resourceServer },
      revocation: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => { ctx.body = form; },
        postLogoutSuccessSource: (ctx) => { ctx.body = ''; },
      },
    },
  });
  provider.on('server_error', (_ctx, error) => console.error(error));
  provider.on('backchannel.error', (_ctx, error) => console.error(error.message));
}

// The login page: whoever comes is whom the app has announced.
async function logIn(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const result = { login: { accountId: params.login_hint } };
  await provider.interactionFinished(request, response, result);
}

async function handle(request, response) {
  // Without this the library warns that an https issuer (`login`) answers over http.
  request.headers['x-forwarded-proto'] ??= 'http';
  const [path] = request.url.split('?');
  requests[path] = (requests[path] ?? 0) + 1;
  if (held?.path === path) {
    await held.released;
  }
  if (path.startsWith('/interaction/')) {
    await logIn(request, response);
  } else {
    await provider.callback()(request, response);
  }
}

function hold(path) {
  held?.release();
  held = undefined;
  if (path !== null) {
    let release;
    const released = new Promise((resolve) => { release = resolve; });
    held = { path, release, released };
  }
}

// now: milliseconds since 1970. keys: "add" signs with new ones from now on, "replace" publishes
// no others. secret: the client's that asks about tokens. logoutUri: where the app's logouts are
// sent. recipe: payload and header that access tokens get, and ID tokens what they can of it. login: the
// issuer that ID tokens name, the app's client id and the algorithm. hold: requests for this path wait; null
// lets them go. down: connections are broken off.
function obey(order) {
  now = order.now;
  if (order.keys !== undefined) {
    keys = [...newKeys(), ...(order.keys === 'add' ? keys : [])];
  }
  secret = order.secret ?? secret;
  logoutUri = order.logoutUri ?? logoutUri;
  recipe = order.recipe ?? recipe;
  login = order.login ?? login;
  isDown = order.down ?? isDown;
  if (order.hold !== undefined) {
    hold(order.hold);
  }
  rebuild();
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.on('connection', (socket) => {
  if (isDown) {
    socket.resetAndDestroy();
  }
});
await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
const issuer = `http://127.0.0.1:${server.address().port}`;
rebuild();
console.log(issuer);
for await (const line of createInterface({ input: process.stdin })) {
  obey(JSON.parse(line));
  console.log(JSON.stringify(requests));
}
process.exit();
