// Polls this listener's /metrics and /readyz every two seconds while the tab is visible, and shows the
// values and their changes. It writes only text, never markup, which the page's policy forbids
// (Trusted Types).

const EVERY = 2_000; // ms between two polls
const PATIENCE = 5_000; // ms until a request fails
const MINUTE = 61_000; // length of "last minute" in ms
const KEPT = 121_000; // ms for which samples are kept, for the curve
const P = 'juspay_bff_';

let token = null; // only in this tab's memory; if the address requires one
let settings = null;
let host = null; // the pod's name
let looks = []; // samples, the oldest first
let timer = null;
let looking = false;

// ---- Requests

async function request(path) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  return fetch(path, { headers, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
}

/** The Prometheus text format: the series of each name. */
function series(text) {
  const found = new Map();
  for (const line of text.split('\n')) {
    const parts = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (parts === null) continue;
    const [, name, inBraces = '', value] = parts;
    const labels = [...inBraces.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, is]) => [key, is]);
    const those = found.get(name) ?? found.set(name, []).get(name);
    those.push({ labels: Object.fromEntries(labels), value: Number(value) });
  }
  return found;
}

/** Requests the settings. Returns whether the token was accepted. */
async function requestSettings() {
  const reply = await request('settings');
  if (reply.status === 401) {
    put('refusal', token === null ? '' : 'This is not the admin token.');
    token = null;
    return false;
  }
  host = reply.headers.get('x-served-by');
  settings = await whole(reply);
  put('settings', settings);
  return true;
}

async function whole(reply) {
  if (!reply.ok) throw new Error(`${reply.url}: ${reply.status}`);
  return reply.text();
}

/** A new sample; `null` if the listener requires a token. */
async function requestAll() {
  if (settings === null && !(await requestSettings())) return null;
  const [metrics, ready] = await Promise.all([request('metrics'), request('readyz')]);
  const here = {
    at: performance.now(),
    now: Date.parse(metrics.headers.get('date')) / 1000,
    series: series(await whole(metrics)),
    readiness: (await ready.text()).trim(),
  };
  if (looks.length > 0 && startOf(looks.at(-1)) !== startOf(here)) {
    // Another process: its counters start at 0, and its settings may differ.
    looks = [];
    settings = null;
    if (!(await requestSettings())) return null;
  }
  return here;
}

async function look() {
  clearTimeout(timer);
  if (looking || document.hidden) return;
  looking = true;
  const here = await requestAll().catch(() => undefined);
  looking = false;
  if (here === null) return setState('signin', 'Admin token required');
  if (here === undefined) {
    setState('lost', 'Unreachable, retrying');
    warn([{ alert: null, runbook: 'JuspayBffDown', severity: 'page', text: 'The service is unreachable. The page shows the last known values.' }]);
  } else {
    looks = [...looks.filter((look) => here.at - look.at < KEPT), here];
    show(here);
    const readiness = { ready: 'Ready', draining: 'Draining' }[here.readiness] ?? 'Not ready';
    setState('live', readiness);
  }
  scheduleNext();
}

function scheduleNext() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, EVERY);
  else if (looks.length > 0) setState('paused', 'Paused');
}

// ---- Metrics

/** The sum of a metric's series with these labels. */
function sum(look, name, labels = {}) {
  const matches = (one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value);
  const those = look.series.get(name) ?? [];
  return those.filter(matches).reduce((total, one) => total + one.value, 0);
}

/** Sums of a metric by one or several labels. */
function by(look, name, ...keys) {
  const sums = new Map();
  for (const { labels, value } of look.series.get(name) ?? []) {
    const key = keys.map((key) => labels[key]).join(' ');
    sums.set(key, (sums.get(key) ?? 0) + value);
  }
  return sums;
}

const startOf = (look) => sum(look, 'process_start_time_seconds');
const total = (sums) => [...sums.values()].reduce((total, value) => total + value, 0);

/** The oldest sample of the last `ms` milliseconds. */
const ago = (here, ms) => looks.find((look) => here.at - look.at <= ms) ?? here;

/** These sums for the last minute, and since the start. */
function sums(here, name, ...keys) {
  const since = by(here, name, ...keys);
  const before = by(ago(here, MINUTE), name, ...keys);
  const minute = new Map([...since].map(([key, value]) => [key, value - (before.get(key) ?? 0)]));
  // Single figures are for the last minute, unless it has no events.
  const isRecent = total(minute) > 0;
  return { since, minute, shown: isRecent ? minute : since, when: isRecent ? 'last minute' : 'since start' };
}

/** The quantile of a histogram, from cumulative counts by upper bound; as PromQL estimates it. */
function quantile(buckets, q) {
  const ordered = [...buckets].map(([bound, count]) => [Number(bound.replace('+Inf', 'Infinity')), count]);
  ordered.sort(([one], [other]) => one - other);
  const rank = q * (ordered.at(-1)?.[1] ?? 0);
  let [lower, below] = [0, 0];
  for (const [bound, count] of ordered) {
    if (count > 0 && count >= rank) {
      return bound === Infinity ? lower : lower + ((bound - lower) * (rank - below)) / (count - below);
    }
    [lower, below] = [bound, count];
  }
  return NaN;
}

const setting = (name) => new RegExp(`^${name} = "?([^"#\n]*[^"#\\s])`, 'm').exec(settings)?.[1];

// ---- Elements

const $ = (id) => document.getElementById(id);
const count = (value) => Math.round(value).toLocaleString('en');
const share = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(part === whole ? 0 : 1)} %` : '–');
const digits = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

function span(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 1) return `${digits(seconds * 1000)} ms`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 30) / 2} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** Keeps equal text, so that selections stay and screen readers announce only changes. */
function put(id, text, tone) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
  for (const one of ['good', 'warn', 'bad']) element.classList.toggle(one, one === tone);
}

/** Text that breaks lines after the underscores of codes, not within words. */
function breakable(text) {
  return text.split(/(?<=_)/).flatMap((part, index) => (index > 0 ? [make('wbr', ''), part] : [part]));
}

function make(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

function bar(part) {
  const [track, filled] = [make('span', ''), make('span', '')];
  track.className = 'track';
  filled.className = 'bar';
  filled.style.width = `${100 * part}%`;
  track.append(filled);
  return track;
}

/** The rows of a table. The first cell is a heading; a number becomes a bar of this share. */
function rows(id, lines, none) {
  const written = JSON.stringify(lines);
  const table = $(id);
  if (table.dataset.written === written) return;
  table.dataset.written = written;
  const shown = lines.length > 0 ? lines : [[none]];
  table.tBodies[0].replaceChildren(...shown.map(([first, ...cells]) => {
    const row = document.createElement('tr');
    const head = make('th', '');
    head.append(...breakable(first));
    head.scope = 'row';
    row.append(head);
    for (const cell of cells) {
      const data = make('td', typeof cell === 'number' ? '' : cell);
      if (typeof cell === 'number') data.append(bar(cell));
      row.append(data);
    }
    return row;
  }));
}

function pairs(id, lines) {
  $(id).replaceChildren(...lines.flatMap(([name, value]) => [make('dt', name), make('dd', value)]));
}

function counts(id, { since, minute }, none) {
  const lines = [...since].filter(([, value]) => value > 0).sort(([one], [other]) => (one < other ? -1 : 1));
  rows(id, lines.map(([key, value]) => [key, count(minute.get(key)), count(value)]), none);
}

/** The badge: the state of the page, and of the service while the page is live. */
function setState(state, word) {
  const live = { Ready: ['●', 'good'], 'Not ready': ['▲', 'bad'], Draining: ['▼', 'warn'] };
  const other = { paused: ['‖', ''], lost: ['▲', 'bad'], signin: ['◆', ''] };
  const [sign, tone] = other[state] ?? live[word];
  document.body.dataset.state = state;
  $('state').className = tone;
  put('sign', sign);
  put('word', word);
  $('signin').hidden = state !== 'signin';
  $('page').hidden = state === 'signin' || looks.length === 0;
}

// ---- Sections

function show(here) {
  const build = here.series.get(`${P}build_info`)[0].labels;
  put('who', `${host ?? '–'} · ${build.version} · ${build.commit} · ${setting('merchant_id')} at ${setting('base_url')}`);
  document.title = `${host ?? ''} juspay-bff`;
  const answers = sums(here, `${P}http_requests_total`, 'status', 'code');
  const periods = windows(here);
  showTraffic(here, answers);
  showCache(here);
  showJuspay(here);
  showKeySets(periods[0]);
  showSharedTier(here);
  showLoad(here, answers);
  warn(attention(periods));
}

function showTraffic(here, answers) {
  const requests = (look) => sum(look, `${P}http_requests_total`);
  const rate = (from, to) => (1000 * (requests(to) - requests(from))) / (to.at - from.at);
  const rates = looks.slice(1).map((look, index) => [look.at, rate(looks[index], look)]);
  put('rate', rates.length > 0 ? digits(rate(ago(here, 5 * EVERY + 500), here)) : '–');
  put('rate-note', `${count(requests(here))} since start`);
  drawTrace(here, rates);

  const statuses = sums(here, `${P}http_requests_total`, 'route', 'status');
  const forToken = [...statuses.shown].map(([key, value]) => [...key.split(' '), value])
    .filter(([route, status]) => isForToken({ route, status }));
  const withStatus = (digit) => forToken.reduce((sum, [, status, value]) => sum + (status.startsWith(digit) ? value : 0), 0);
  const [all, refused, failed] = ['', '4', '5'].map(withStatus);
  put('failed', share(failed, all), failed > 0 ? 'bad' : undefined);
  put('failed-note', `5xx; 4xx ${share(refused, all)}; ${statuses.when}`);
  counts('answers', answers, 'No requests yet');
  counts('routes', sums(here, `${P}http_requests_total`, 'route'), 'No requests yet');
}

function drawTrace(here, rates) {
  const most = Math.max(1, ...rates.map(([, rate]) => rate));
  const wide = Math.max(30_000, here.at - looks[0].at);
  const x = (at) => (120 * (1 - (here.at - at) / wide)).toFixed(1);
  const points = rates.map(([at, rate]) => `${x(at)} ${(29 - (28 * rate) / most).toFixed(1)}`);
  const [area, line] = $('trace').children;
  line.setAttribute('d', points.length > 0 ? `M${points.join('L')}` : '');
  area.setAttribute('d', points.length > 0 ? `M${x(rates[0][0])} 30L${points.join('L')}L120 30Z` : '');
  $('trace').setAttribute('aria-label', `Requests per second in the last ${span(wide / 1000)}, at most ${digits(most)}`);
}

function showCache(here) {
  const lookups = sums(here, `${P}cache_requests_total`, 'outcome');
  const fromMemory = (lookups.shown.get('hit') ?? 0) + (lookups.shown.get('outage') ?? 0);
  put('hits', share(fromMemory, total(lookups.shown)));
  const withoutCall = ['joined', 'shared'].reduce((sum, outcome) => sum + (lookups.shown.get(outcome) ?? 0), fromMemory);
  put('hits-note', `${share(withoutCall, total(lookups.shown))} with no call of their own; ${lookups.when}`);
  counts('lookups', lookups, 'None yet');

  const lives = [...by(here, `${P}cache_token_remaining_seconds`, 'at_least')].map(([at, many]) => [Number(at), many]);
  lives.sort(([one], [other]) => other - one);
  const entries = sum(here, `${P}cache_entries`);
  const half = lives.find(([, many]) => entries > 0 && many >= entries / 2);
  const cover = entries === 0 ? '–' : half === undefined ? `< ${span(lives.at(-1)?.[0])}` : `≥ ${span(half[0])}`;
  put('cover', cover);
  put('cover-note', entries === 0 ? 'no customer is cached' : 'left in at least half of the cached tokens');
  const part = (many) => Math.min(1, many / Math.max(1, entries));
  rows('lives', lives.map(([at, many]) => [`≥ ${span(at)}`, part(many), count(many)]), 'Counted every 5 s');
  put('floor', setting('outage_min_remaining'));
  put('entries', `${count(entries)} of ${count(Number(setting('capacity')))} entries are used.`);

  const cumulative = [...by(here, `${P}token_remaining_seconds_bucket`, 'le')];
  const handOuts = cumulative.map(([bound, many], index) => [
    bound === '+Inf' ? 'more' : `up to ${span(Number(bound))}`,
    many - (cumulative[index - 1]?.[1] ?? 0),
  ]).filter(([, many]) => many > 0);
  const all = Math.max(1, sum(here, `${P}token_remaining_seconds_count`));
  rows('handouts', handOuts.map(([life, many]) => [life, many / all, count(many)]), 'None yet');
  showTokens(here);
}

function showTokens(here) {
  const [tokens, deaths] = ['cache_tokens_total', 'cache_token_early_death_age_seconds_count'].map((name) => sum(here, P + name));
  const limit = sum(here, `${P}cache_max_hand_outs`);
  const auto = setting('max_hand_outs') === 'auto' ? ' (auto)' : '';
  pairs('tokens', [
    ['Tokens from Juspay', count(tokens)],
    ['Stopped working early', deaths > 0 ? `${count(deaths)}, ${share(deaths, tokens)}` : '0'],
    ['Replaced after', limit > 0 ? `${count(limit)} responses${auto}` : 'no number of responses'],
  ]);
}

function showJuspay(here) {
  const times = sums(here, `${P}upstream_request_duration_seconds_bucket`, 'le');
  put('p99', span(quantile(times.shown, 0.99)));
  put('p99-note', `p50 ${span(quantile(times.shown, 0.5))}, ${times.when}`);
  counts('calls', sums(here, `${P}upstream_requests_total`, 'outcome'), 'None yet');
  const inUse = [...by(here, `${P}upstream_key_slot`, 'slot')].find(([, used]) => used === 1);
  pairs('juspay', [
    ['In progress', count(sum(here, `${P}upstream_in_flight`))],
    ['Retries', count(sum(here, `${P}upstream_retries_total`))],
    ['For another customer, rejected', count(sum(here, `${P}upstream_identity_mismatches_total`))],
    ['Key in use', inUse?.[0] ?? '–'],
  ]);
  const states = {
    closed: ['Closed', 'Juspay is called', 'good'],
    open: ['Open', 'Juspay is not called', 'bad'],
    half_open: ['Half open', 'one call tests Juspay', 'warn'],
  };
  const state = [...by(here, `${P}upstream_breaker_state`, 'state')].find(([, is]) => is === 1)?.[0];
  const [word, note, tone] = states[state] ?? ['–', ''];
  put('breaker', word, tone);
  put('breaker-note', note);
}

function showKeySets(period) {
  const age = (seconds) => (Number.isNaN(seconds) ? 'never fetched' : span(seconds));
  const lines = keySets(period).map((set) => [set.issuer, count(set.keys), age(set.age), count(set.failed)]);
  rows('keysets', lines, 'No issuer has keys');
}

/** Without the shared tier, its metrics are absent. */
function showSharedTier(here) {
  const states = [...by(here, `${P}shared_state`, 'state')];
  $('shared-tier').hidden = states.length === 0;
  const times = sums(here, `${P}shared_request_duration_seconds_bucket`, 'le');
  counts('shared', sums(here, `${P}shared_requests_total`, 'outcome'), 'None yet');
  pairs('shared-state', [
    ['State', (states.find(([, is]) => is === 1)?.[0] ?? '–').replace('_', ' ')],
    [`Look-up p50, ${times.when}`, span(quantile(times.shown, 0.5))],
    [`Look-up p99, ${times.when}`, span(quantile(times.shown, 0.99))],
  ]);
}

function showLoad(here, answers) {
  pairs('load', [
    ['In progress', count(sum(here, `${P}http_requests_in_flight`))],
    ['Waiting for Juspay or keys', count(sum(here, `${P}http_requests_waiting`))],
    ['Rejected as overload, last minute', count(answers.minute.get('503 overloaded') ?? 0)],
    ['Connections', count(sum(here, `${P}http_connections`))],
    ['Memory', `${(sum(here, 'process_resident_memory_bytes') / 1_048_576).toFixed(0)} MiB`],
    ['Uptime', span(Math.max(0, here.now - startOf(here)))],
  ]);
}

/** Keeps an equal list, because screen readers announce changes. */
function warn(found) {
  $('attention').dataset.severity = found[0]?.severity ?? 'none';
  const shown = JSON.stringify(found);
  if ($('warnings').dataset.shown === shown) return;
  $('warnings').dataset.shown = shown;
  const lines = found.map(({ alert, runbook, severity, text }) => {
    const line = make('li', '');
    const link = make('a', alert ?? `see ${runbook}`);
    link.href = `#${(alert ?? runbook).toLowerCase()}`;
    line.className = severity;
    line.append(...breakable(`${severity === 'page' ? '▲' : '△'} ${text} `), link);
    return line;
  });
  $('warnings').replaceChildren(...(lines.length > 0 ? lines : [make('li', 'Nothing needs attention.')]));
}

// ---- Start

document.addEventListener('visibilitychange', () => {
  if (document.body.dataset.state === 'signin') return;
  if (document.hidden) scheduleNext();
  else look();
});

/** Opens the runbook that a link names, and the list around it. */
document.addEventListener('click', ({ target }) => {
  const id = target.closest('a')?.hash.slice(1);
  if (id === undefined) return;
  for (let part = $(id); part !== null; part = part.parentElement.closest('details')) part.open = true;
});

document.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  token = $('token').value.trim();
  $('token').value = '';
  look();
});

look();
