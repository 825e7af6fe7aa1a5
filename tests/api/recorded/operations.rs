//! Generates the operations of a recording from a seed: requests in every form, and all events that
//! may end a hit. Pure: the responses have no influence on them.
//!
//! The steps of the clock avoid times at which jitter decides. A long step ends an epoch at a multiple
//! of [`GRID`], and an epoch is short, so an entry's age is near a multiple of the grid. After a failed
//! fetch, the rest of its epoch is shorter than the shortest pause.

use std::time::Duration;

/// Requests in this form are what nearly all clients send.
pub const PLAIN: usize = 0;
const NO_CACHE: usize = 5;

/// Name, method and target, and additional header lines of requests with the usual headers.
pub const USUAL: [(&str, &str, &str); 31] = [
    ("GET", "GET /me/customer", ""),
    ("GET, option true", "GET /me/customer?options.get_client_auth_token=true", ""),
    ("GET, option false", "GET /me/customer?options.get_client_auth_token=false", ""),
    ("HEAD", "HEAD /me/customer", ""),
    ("HEAD, option false", "HEAD /me/customer?options.get_client_auth_token=false", ""),
    ("no-cache", "GET /me/customer", "Cache-Control: no-cache\n"),
    (
        "no-cache, option false",
        "GET /me/customer?options.get_client_auth_token=false",
        "Cache-Control: no-cache\n",
    ),
    ("min-fresh=100", "GET /me/customer", "Cache-Control: min-fresh=100\n"),
    ("min-fresh=700", "GET /me/customer", "Cache-Control: min-fresh=700\n"),
    ("only-if-cached", "GET /me/customer", "Cache-Control: only-if-cached\n"),
    ("two directives", "GET /me/customer", "Cache-Control: no-cache, only-if-cached\n"),
    ("unknown directive", "GET /me/customer", "Cache-Control: max-age=0\n"),
    ("malformed directive", "GET /me/customer", "Cache-Control: min-fresh=soon\n"),
    ("request id", "GET /me/customer", "X-Request-Id: recorded-1\n"),
    ("malformed request id", "GET /me/customer", "X-Request-Id: one two\n"),
    ("two request ids", "GET /me/customer", "X-Request-Id: one\nX-Request-Id: two\n"),
    (
        "traceparent",
        "GET /me/customer",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
    ),
    ("encoded path", "GET /me/%63ustomer", ""),
    ("own query", "GET /me/customer?utm=1", ""),
    ("empty query", "GET /me/customer?", ""),
    ("malformed option", "GET /me/customer?options.get_client_auth_token=1", ""),
    ("token in the query", "GET /me/customer?access_token=x", ""),
    ("absolute target", "GET http://localhost/me/customer", ""),
    ("another host's target", "GET http://elsewhere/me/customer", ""),
    ("no length", "GET /me/customer", "Content-Length: 0\n"),
    ("empty chunked body", "GET /me/customer", "Transfer-Encoding: chunked\n\n0\n\n"),
    ("body", "GET /me/customer", "Content-Length: 2\n\n{}"),
    ("unknown path", "GET /me/customer/", ""),
    ("POST", "POST /me/customer", "Content-Length: 0\n"),
    ("OPTIONS", "OPTIONS /me/customer", ""),
    ("accept", "GET /me/customer", "Accept: application/json\nUser-Agent: phone\n"),
];

/// Name, and all lines of requests with other headers than usual.
pub const UNUSUAL: [(&str, &str); 11] = [
    (
        "lower-case scheme",
        "GET /me/customer HTTP/1.1\nHost: localhost\nauthorization: bearer {token}\n",
    ),
    ("spaces", "GET /me/customer HTTP/1.1\nHost: localhost\nAuthorization:   Bearer   {token}  \n"),
    (
        "two tokens",
        "GET /me/customer HTTP/1.1\nHost: localhost\nAuthorization: Bearer {token}\n\
         Authorization: Bearer {token}\n",
    ),
    ("no token", "GET /me/customer HTTP/1.1\nHost: localhost\n"),
    ("other scheme", "GET /me/customer HTTP/1.1\nHost: localhost\nAuthorization: Basic eDp5\n"),
    ("DPoP scheme", "GET /me/customer HTTP/1.1\nHost: localhost\nAuthorization: DPoP {token}\n"),
    ("no host", "GET /me/customer HTTP/1.1\nAuthorization: Bearer {token}\n"),
    ("malformed host", "GET /me/customer HTTP/1.1\nHost: a b\nAuthorization: Bearer {token}\n"),
    (
        "two hosts",
        "GET /me/customer HTTP/1.1\nHost: localhost\nHost: localhost\nAuthorization: Bearer {token}\n",
    ),
    ("HTTP/1.0", "GET /me/customer HTTP/1.0\nHost: localhost\nAuthorization: Bearer {token}\n"),
    ("HTTP/1.0, no host", "GET /me/customer HTTP/1.0\nAuthorization: Bearer {token}\n"),
];

/// A client's token. Several may belong to one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lives longer than the recording.
    Valid,
    /// Expires in a second, including the leeway.
    Expiring,
    WrongScope,
    OtherAudience,
    NoCustomer,
    Malformed,
    /// Has another signature.
    Forged,
}

/// The customer and the kind of each token.
pub const TOKENS: [(&str, Kind); 14] = [
    ("c0", Kind::Valid),
    ("c0", Kind::Valid),
    ("c1", Kind::Valid),
    ("c1", Kind::Valid),
    ("c2", Kind::Valid),
    ("c3", Kind::Valid),
    ("c4", Kind::Valid),
    ("c5", Kind::Valid),
    ("c2", Kind::Expiring),
    ("c5", Kind::WrongScope),
    ("c4", Kind::OtherAudience),
    ("c3", Kind::NoCustomer),
    ("c5", Kind::Malformed),
    ("c5", Kind::Forged),
];

/// The number of valid tokens, which are first.
const VALID: usize = 8;
/// The token of this kind.
const EXPIRING: usize = 8;

/// The number of forms with valid options and directives, which are first.
const LOOKUPS: usize = 12;

/// The number of ways to end a hit.
const ENDS: usize = 13;

/// Without a common divisor with the numbers of forms and of ends of a hit, so that all occur.
const STRIDE: usize = 5;

/// The length of a long step, from epoch to epoch, is a multiple of this.
const GRID: Duration = Duration::from_secs(100);
/// Maximum length of an epoch. Far less than the grid.
const MAX_EPOCH: Duration = Duration::from_secs(7);
/// The steps within an epoch.
const SECOND: Duration = Duration::from_millis(1_100);
const TICK: Duration = Duration::from_millis(5);
/// Together shorter than the shortest pause after a failed fetch, which is half a second.
const MAX_TICKS: u32 = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A request with a token in a form of [`USUAL`], then of [`UNUSUAL`].
    Request {
        token: usize,
        form: usize,
    },
    /// Two plain requests on one connection.
    Pair {
        token: usize,
    },
    /// The client gets a new token.
    LogIn {
        token: usize,
    },
    /// Advances the clock.
    Advance(Duration),
    /// The issuer rotates its key and publishes the previous one, or not.
    Rotate {
        overlap: bool,
    },
    Admin(Admin),
    Juspay(Juspay),
}

/// A request to the admin listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// Revokes all tokens of the token's subject.
    RevokeSubject {
        token: usize,
    },
    RevokeToken {
        token: usize,
    },
    /// Purges the token's customer.
    Purge {
        token: usize,
    },
    PurgeAll,
}

/// What Juspay returns from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Juspay {
    /// 503 for all customers, or a page of HTML.
    Down {
        html: bool,
    },
    /// "Not found" for the token's customer.
    Unknown {
        token: usize,
    },
    /// An object without a client auth token for the token's customer.
    Tokenless {
        token: usize,
    },
    Up,
}

/// The same numbers in every version and on every machine, which `rand` does not promise of its
/// small generators (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        usize::try_from(bits % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// `number` operations, or a few more, of this seed. A `burst` of plain requests meets the limits.
pub fn operations(seed: u64, number: usize, burst: usize) -> Vec<Operation> {
    let mut random = Random(seed);
    let mut generator = Generator {
        form: random.below(USUAL.len() + UNUSUAL.len()),
        end: random.below(ENDS),
        random,
        burst,
        operations: Vec::new(),
        in_epoch: Duration::ZERO,
        ticks: 0,
        may_fail: false,
        is_failing: false,
    };
    // Tokens of two keys.
    for token in 0..TOKENS.len() {
        if token == 4 {
            generator.push(Operation::Rotate { overlap: true });
        }
        generator.push(Operation::LogIn { token });
    }
    while generator.operations.len() < number {
        generator.next();
    }
    generator.operations
}

struct Generator {
    random: Random,
    burst: usize,
    /// The last form from the whole table.
    form: usize,
    /// The last end of a hit.
    end: usize,
    operations: Vec<Operation>,
    /// Time since the last long step.
    in_epoch: Duration,
    /// Small steps since then.
    ticks: u32,
    /// Whether Juspay has failed since then, in a way after which a jittered pause follows.
    may_fail: bool,
    is_failing: bool,
}

impl Generator {
    fn next(&mut self) {
        let token = self.random.below(VALID);
        match self.random.below(100) {
            0..14 => self.plain(token, 1),
            14..18 => self.push(Operation::Pair { token }),
            18..44 => {
                self.form = (self.form + STRIDE) % (USUAL.len() + UNUSUAL.len());
                self.push(Operation::Request { token, form: self.form });
            }
            44..50 => {
                let token = VALID + self.random.below(TOKENS.len() - VALID);
                self.any_lookup(token);
            }
            50..53 => self.second(),
            53..57 => self.tick(),
            57..64 => {
                self.long();
                self.plain(token, 2);
                let other = self.random.below(VALID);
                self.any_lookup(other);
                self.plain(other, 1);
            }
            64..66 => self.push(Operation::LogIn { token }),
            66..68 => self.fault(token),
            68..71 if self.is_failing => self.up(),
            _ => self.ended_hit(token),
        }
    }

    /// A hit, then an event that may end it, then the same request.
    fn ended_hit(&mut self, token: usize) {
        self.plain(token, 2);
        self.end = (self.end + STRIDE) % ENDS;
        match self.end {
            0 => return self.revocation(token, Admin::RevokeSubject { token }),
            1 => return self.revocation(token, Admin::RevokeToken { token }),
            2 => return self.rotation(token),
            3 => self.push(Operation::Admin(Admin::Purge { token })),
            4 => self.push(Operation::Admin(Admin::PurgeAll)),
            5 => return self.expiry(),
            6 | 7 => self.long(),
            8 => self.second(),
            9 => self.push(Operation::Request { token, form: NO_CACHE }),
            10 => self.any_lookup(token),
            11 => {
                self.plain(token, self.burst);
                self.second();
            }
            _ => self.fault(token),
        }
        self.plain(token, 2);
    }

    /// Only a token that is issued later is valid.
    fn revocation(&mut self, token: usize, revocation: Admin) {
        self.push(Operation::Admin(revocation));
        self.plain(token, 2);
        self.second();
        self.push(Operation::LogIn { token });
        self.plain(token, 2);
    }

    /// Another client's token, of the new key, makes the service fetch the key set.
    fn rotation(&mut self, token: usize) {
        let other = (token + 1) % VALID;
        let overlap = self.random.below(2) == 0;
        self.push(Operation::Rotate { overlap });
        self.plain(token, 1);
        self.push(Operation::LogIn { token: other });
        self.plain(other, 1);
        self.plain(token, 2);
        // Otherwise most clients have tokens of former keys from now on.
        for token in 0..VALID {
            self.push(Operation::LogIn { token });
        }
    }

    fn expiry(&mut self) {
        let token = EXPIRING;
        self.push(Operation::LogIn { token });
        self.plain(token, 2);
        self.second();
        self.plain(token, 2);
    }

    /// A valid request, perhaps with an option or a directive.
    fn any_lookup(&mut self, token: usize) {
        let form = self.random.below(LOOKUPS);
        self.push(Operation::Request { token, form });
    }

    fn plain(&mut self, token: usize, times: usize) {
        for _ in 0..times {
            self.push(Operation::Request { token, form: PLAIN });
        }
    }

    fn fault(&mut self, token: usize) {
        let fault = match self.random.below(5) {
            0 => Juspay::Down { html: false },
            1 => Juspay::Down { html: true },
            2 => Juspay::Tokenless { token },
            _ => Juspay::Unknown { token },
        };
        self.may_fail |= !matches!(fault, Juspay::Unknown { .. });
        self.is_failing = true;
        self.push(Operation::Juspay(fault));
        // Without a cached token, the fault has an effect at once.
        if self.random.below(2) == 0 {
            self.push(Operation::Admin(Admin::Purge { token }));
        }
        self.plain(token, 2);
    }

    fn up(&mut self) {
        self.is_failing = false;
        self.push(Operation::Juspay(Juspay::Up));
    }

    fn tick(&mut self) {
        if self.ticks < MAX_TICKS {
            self.ticks += 1;
            self.step(TICK);
        }
    }

    fn second(&mut self) {
        if self.may_fail || self.in_epoch + SECOND > MAX_EPOCH {
            self.long();
        } else {
            self.step(SECOND);
        }
    }

    fn step(&mut self, step: Duration) {
        self.in_epoch += step;
        self.push(Operation::Advance(step));
    }

    /// Until a token of that age is fresh, due, stale or expired.
    fn long(&mut self) {
        let steps = [1, 1, 3, 6, 6, 7, 8, 8, 9][self.random.below(9)];
        self.push(Operation::Advance(steps * GRID - self.in_epoch));
        // An outage lasts for an epoch or two.
        if self.is_failing && self.random.below(3) > 0 {
            self.up();
        }
        (self.in_epoch, self.ticks, self.may_fail) = (Duration::ZERO, 0, self.is_failing);
    }

    fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }
}
