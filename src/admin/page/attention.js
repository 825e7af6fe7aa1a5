'use strict';
// The rules for the attention list: the alerts of deploy/prometheus/alert-rules.yml, evaluated for this
// instance only, over the last minute instead of hours, without a minimum of traffic and without `for`.
// `bound` is the number in the alert's expression. A test compares alerts, severities and bounds with
// that file. Rules without an alert (`null`) explain others, or report problems earlier; `runbook` names the
// alert whose runbook has the next steps.
//
// `when` gets a `view` and returns the replacements of `{}` in the text, one for each problem.

const MIN_PERIOD = 50_000; // ms of data that the last minute needs to be evaluated alone

const NOTHING = [];
const FOUND = [''];
const any = (count) => (count > 0 ? FOUND : NOTHING);
const exceeds = (part, whole, bound) => (part > bound * whole ? FOUND : NOTHING);
const outcome = (...expected) => (labels) => expected.includes(labels.outcome);
const code = (expected) => (labels) => labels.code === expected;

/** Whether no call to Juspay succeeds. If some succeed, a firewall rejects a few customers. */
const noneSucceeds = (metrics) => metrics.count('upstream_requests_total', outcome('success')) === 0;
// As in recording-rules.yml: only requests for a token count, not /me/prepare and not OPTIONS (204). 4xx are caused by
// the client, not_cached is requested by the client, and forged tokens can cause keys_unavailable.
const isTokenRoute = ({ route }) => ['/me/customer', '/me/sdk-payload'].includes(route);
const isForToken = (labels) => isTokenRoute(labels) && labels.status !== '204';
const isCounted = (labels) => isForToken(labels) && /^[25]/.test(labels.status) && !['not_cached', 'keys_unavailable'].includes(labels.code);
const unserved = (labels) => isCounted(labels) && labels.status.startsWith('5');

function errors(metrics, bound) {
  const codes = [...metrics.by('http_requests_total', 'code', unserved)].filter(([, count]) => count > 0);
  const [failed, all] = [unserved, isCounted].map((fits) => metrics.count('http_requests_total', fits));
  return exceeds(failed, all, bound).map(() => codes.map(([code]) => code).join(', '));
}

/** For each series with a time: its age in seconds, negative for times in the future. */
const ages = (metrics, name, label) => metrics.gauges(name).filter(({ value }) => value > 0)
  .map(({ labels, value }) => [labels[label], metrics.now - value]);

const RULES = [
  {
    alert: null, runbook: 'JuspayBffKeySetMissing', severity: 'page', text: 'Not ready: {}.',
    when: ({ readiness }) => (['ready', 'draining'].includes(readiness) ? NOTHING : [readiness]),
  },
  {
    alert: 'JuspayBffUnserved', severity: 'page', bound: 14.4 * 0.001,
    text: 'Customers got errors {when}: {}.',
    when: errors,
  },
  {
    alert: 'JuspayBffUnserved', severity: 'ticket', bound: 3 * 0.001,
    text: 'Some customers got errors {when}: {}.',
    when: errors,
  },
  {
    alert: 'JuspayBffSlow', severity: 'ticket', bound: 14.4 * 0.01,
    text: 'Customers waited longer than a second {when}.',
    when: (metrics, bound) => {
      const all = metrics.count('http_request_duration_seconds_count', isTokenRoute);
      const quick = metrics.count('http_request_duration_seconds_bucket', (labels) => isTokenRoute(labels) && Number(labels.le) === 1);
      return exceeds(all - quick, metrics.count('http_requests_total', isCounted), bound);
    },
  },
  {
    alert: 'JuspayBffKeyRejected', severity: 'page',
    text: 'Juspay rejected the API key {when}, and customers got errors.',
    when: (metrics) => (noneSucceeds(metrics) ? any(metrics.count('http_requests_total', code('upstream_rejected_credentials'))) : NOTHING),
  },
  {
    alert: 'JuspayBffKeyRejected', severity: 'ticket',
    text: 'Juspay rejected the API key {when}.',
    when: (metrics) => any(metrics.count('upstream_requests_total', outcome('rejected_credentials'))),
  },
  {
    alert: 'JuspayBffAddressRejected', severity: 'page',
    text: 'Juspay rejected this server’s address {when}, and customers got errors: the address is not on the allow-list.',
    when: (metrics) => (noneSucceeds(metrics) ? any(metrics.count('http_requests_total', code('upstream_rejected_origin'))) : NOTHING),
  },
  {
    alert: 'JuspayBffAddressRejected', severity: 'ticket',
    text: 'Juspay rejected this server’s address {when}: the address is not on the allow-list.',
    when: (metrics) => any(metrics.count('upstream_requests_total', outcome('rejected_origin'))),
  },
  {
    alert: 'JuspayBffBreakerOpen', severity: 'ticket', text: 'The circuit breaker is {}.',
    when: (metrics) => {
      const states = { open: 'open: Juspay is not called', half_open: 'half open: one call tests Juspay' };
      const current = metrics.gauges('upstream_breaker_state').filter(({ value }) => value === 1);
      return current.map(({ labels }) => states[labels.state]).filter((text) => text !== undefined);
    },
  },
  {
    alert: null, runbook: 'JuspayBffSlow', severity: 'ticket', bound: 0.05,
    text: 'Calls to Juspay timed out {when}.',
    when: (metrics, bound) => exceeds(
      metrics.count('upstream_requests_total', outcome('timeout')), metrics.count('upstream_requests_total'), bound,
    ),
  },
  {
    alert: 'JuspayBffRefreshesFail', severity: 'ticket', bound: 0.2,
    text: 'Refreshes of cached tokens failed {when}.',
    when: (metrics, bound) => exceeds(
      metrics.count('cache_refreshes_total', outcome('failure')), metrics.count('cache_refreshes_total'), bound,
    ),
  },
  {
    alert: null, runbook: 'JuspayBffRefreshesFail', severity: 'ticket',
    text: 'Juspay failed, and customers got tokens with less than the normal validity {when}.',
    when: (metrics) => any(metrics.count('cache_requests_total', outcome('outage'))),
  },
  {
    alert: 'JuspayBffShortTokens', severity: 'ticket', bound: 0.05,
    text: 'Customers got tokens that were valid for a minute or less {when}.',
    when: (metrics, bound) => exceeds(
      metrics.count('token_remaining_seconds_bucket', ({ le }) => Number(le) === 60),
      metrics.count('token_remaining_seconds_count'), bound,
    ),
  },
  {
    alert: 'JuspayBffTokensDieEarly', severity: 'ticket', bound: 0.01,
    text: 'Client auth tokens stopped working before their expiry {when}.',
    // Not for a few phones.
    when: (metrics, bound) => {
      const deaths = 'cache_token_early_death_age_seconds_count';
      const few = (metrics.gauges(deaths)[0]?.value ?? 0) <= 10;
      return few ? NOTHING : exceeds(metrics.count(deaths), metrics.count('cache_tokens_total'), bound);
    },
  },
  {
    alert: 'JuspayBffWrongCustomer', severity: 'ticket',
    text: 'Juspay returned another customer’s data {when}. The response was rejected.',
    when: (metrics) => any(metrics.count('upstream_identity_mismatches_total')),
  },
  {
    alert: 'JuspayBffClockSkew', severity: 'ticket', bound: 30,
    text: 'This server’s clock and Juspay’s differ by more than 30 seconds.',
    when: (metrics, bound) => any(metrics.gauges('upstream_clock_skew_seconds').filter(({ value }) => Math.abs(value) > bound).length),
  },
  {
    alert: 'JuspayBffTokensRejected', severity: 'ticket', bound: 0.5,
    text: 'Most requests were rejected with 401 {when}.',
    when: (metrics, bound) => exceeds(
      metrics.count('http_requests_total', (labels) => isForToken(labels) && labels.status === '401'),
      metrics.count('http_requests_total', isForToken), bound,
    ),
  },
  {
    alert: 'JuspayBffKeysUnavailable', severity: 'page', bound: 900,
    text: 'Access tokens could not be verified {when}, because an issuer did not answer, and customers got errors.',
    when: (metrics, bound) => {
      const stale = keySets(metrics).some(({ age, failed }) => age > bound || (Number.isNaN(age) && failed > 0));
      const unanswered = metrics.count('auth_introspections_total', (labels) => !outcome('active', 'inactive')(labels));
      const refused = metrics.count('http_requests_total', code('keys_unavailable'));
      return stale || unanswered > 0 ? any(refused) : NOTHING;
    },
  },
  {
    alert: 'JuspayBffKeySetStale', severity: 'ticket', bound: 3600,
    text: 'The signing keys of {} have not been fetched for more than an hour.',
    when: (metrics, bound) => keySets(metrics).filter(({ age }) => age > bound).map(({ issuer }) => issuer),
  },
  {
    alert: 'JuspayBffKeySetMissing', severity: 'ticket', text: 'The signing keys of {} have never been fetched.',
    when: (metrics) => keySets(metrics).filter(({ age, failed }) => Number.isNaN(age) && failed > 0)
      .map(({ issuer }) => issuer),
  },
  {
    alert: null, runbook: 'JuspayBffKeySetStale', severity: 'ticket', text: 'Fetching the signing keys of {} failed {when}.',
    when: (metrics) => [...metrics.by('jwks_refreshes_total', 'issuer', outcome('failure'))]
      .filter(([, failed]) => failed > 0).map(([issuer]) => issuer),
  },
  {
    alert: 'JuspayBffCacheNearCapacity', severity: 'ticket', bound: 0.9, text: 'The cache is nearly full.',
    when: (metrics, bound) => {
      const [entries, capacity] = ['cache_entries', 'cache_capacity'].map((name) => metrics.gauges(name)[0]?.value ?? 0);
      return capacity > 0 ? exceeds(entries, capacity, bound) : NOTHING;
    },
  },
  {
    alert: 'JuspayBffShedding', severity: 'ticket', bound: 0.01,
    text: 'Requests were rejected because of overload {when}.',
    when: (metrics, bound) => exceeds(
      metrics.count('http_requests_total', (labels) => isForToken(labels) && labels.code === 'overloaded'),
      metrics.count('http_requests_total', isForToken), bound,
    ),
  },
  {
    alert: 'JuspayBffSharedTierAway', severity: 'ticket', text: 'The shared tier is {}.',
    when: (metrics) => {
      const states = {
        disconnected: 'away: customers are fetched as without it',
        partly_connected: 'partly away: a node of the cluster is down',
        breaker_open: 'skipped: its server responds too late',
      };
      const current = metrics.gauges('shared_state').filter(({ value }) => value === 1);
      return current.map(({ labels }) => states[labels.state]).filter((text) => text !== undefined);
    },
  },
  {
    alert: 'JuspayBffSharedEntriesUnreadable', severity: 'ticket',
    text: 'Entries in the shared tier were unreadable {when}.',
    when: (metrics) => any(metrics.count('shared_requests_total', outcome('unreadable'))),
  },
  {
    alert: 'JuspayBffSharedExtraFetches', severity: 'ticket', bound: 0.05,
    text: 'The shared tier was slow or full {when}, which caused extra calls to Juspay.',
    when: (metrics, bound) => exceeds(
      metrics.count('shared_requests_total', outcome('breaker_open', 'busy', 'error', 'out_of_memory', 'timeout')),
      metrics.count('shared_requests_total', (labels) => !outcome('disconnected')(labels)), bound,
    ),
  },
  {
    alert: 'JuspayBffInternalErrors', severity: 'ticket',
    text: 'Requests failed because of a bug {when}.',
    when: (metrics) => any(metrics.count('http_requests_total', code('internal_error'))),
  },
  {
    alert: 'JuspayBffLogLinesLost', severity: 'ticket', text: 'Log lines were lost {when}.',
    when: (metrics) => any(metrics.count('log_lines_lost_total')),
  },
  {
    alert: 'JuspayBffSecretNotRead', severity: 'ticket', bound: 300, text: 'The file of {} can’t be read.',
    when: (metrics, bound) => ages(metrics, 'secret_last_reload_success_timestamp_seconds', 'secret')
      .filter(([, age]) => age > bound).map(([secret]) => secret),
  },
  {
    alert: 'JuspayBffCertificateEnds', severity: 'page', bound: 0, text: 'The TLS certificate of {} has expired.',
    when: (metrics, bound) => ages(metrics, 'tls_certificate_not_after_timestamp_seconds', 'certificate')
      .filter(([, age]) => -age < bound).map(([certificate]) => certificate),
  },
  {
    alert: 'JuspayBffCertificateEnds', severity: 'ticket', bound: 14 * 86400,
    text: 'The TLS certificate of {} expires in less than 14 days.',
    when: (metrics, bound) => ages(metrics, 'tls_certificate_not_after_timestamp_seconds', 'certificate')
      .filter(([, age]) => -age < bound).map(([certificate]) => certificate),
  },
];

/**
 * The problems, the most severe first: each rule in the first of these windows in which it applies, and
 * each alert by its first rule that applies.
 */
function attention(windows) {
  const found = [];
  for (const { alert, runbook, severity, bound, text, when } of RULES) {
    if (alert !== null && found.some((other) => other.alert === alert)) continue;
    const subjects = windows.map((metrics) => [metrics, when(metrics, bound)]).find(([, subjects]) => subjects.length > 0);
    if (subjects === undefined) continue;
    const filled = text.replace('{when}', subjects[0].when);
    found.push(...subjects[1].map((subject) => ({ alert, runbook, severity, text: filled.replace('{}', () => subject) })));
  }
  return found.sort((one, other) => (one.severity === 'page' ? 0 : 1) - (other.severity === 'page' ? 0 : 1));
}

/** The input of the rules: counts between two samples, and gauges of the later sample. */
function view(here, before, when) {
  const by = (name, label, fits = () => true) => {
    const sums = new Map();
    const add = (look, sign) => {
      for (const { labels, value } of look.series.get(P + name) ?? []) {
        if (fits(labels)) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + sign * value);
      }
    };
    add(here, 1);
    add(before, -1);
    return sums;
  };
  return {
    when,
    by,
    count: (name, fits) => total(by(name, undefined, fits)),
    gauges: (name) => here.series.get(P + name) ?? [],
    now: here.now,
    readiness: here.readiness,
  };
}

/** The last minute; also the time since the start, until there is enough data of the last minute. */
function windows(here) {
  const before = ago(here, MINUTE);
  const minute = view(here, before, 'in the last minute');
  const known = here.at - before.at > MIN_PERIOD;
  return known ? [minute] : [minute, view(here, { series: new Map() }, 'since start')];
}

/** For each issuer with a key set: its keys, their age (NaN before the first fetch), failed fetches. */
function keySets({ gauges, now }) {
  const of = (name) => gauges(name).map(({ labels, value }) => [labels.issuer, value]);
  const fetched = new Map(of('jwks_last_success_timestamp_seconds').filter(([, at]) => at > 0));
  const failures = gauges('jwks_refreshes_total').filter(({ labels }) => labels.outcome === 'failure');
  const failed = new Map(failures.map(({ labels, value }) => [labels.issuer, value]));
  const keys = new Map(of('jwks_keys'));
  return [...new Set([...keys.keys(), ...fetched.keys(), ...failed.keys()])].map((issuer) => ({
    issuer,
    keys: keys.get(issuer) ?? 0,
    age: fetched.has(issuer) ? Math.max(0, now - fetched.get(issuer)) : NaN,
    failed: failed.get(issuer) ?? 0,
  }));
}

