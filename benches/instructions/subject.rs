//! The measured program: the service or actix-web alone, called over loopback by a client in the
//! same process.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use clap::ValueEnum;
use juspay_bff::{app::Application, clock::Clock, settings::Sources, telemetry};

use super::{
    bare::{self, JuspayCall, RecordedResponse},
    fixed_clock::FixedClock,
    plain::{self, BlockingClient, is_ok},
    stand_in::StandIn,
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The service: a cached customer of a cached token, access log off.
    Hit,
    /// The same, with a shared tier, which has the customer too.
    Shared,
    /// The same as a hit, access log on.
    Logged,
    /// The same, but the token is verified each time.
    First,
    /// The service: a cached token, but the customer is fetched from Juspay.
    Miss,
    /// actix-web alone.
    Bare,
    /// actix-web, which calls Juspay with awc alone.
    Asking,
}

/// The variable with the port of the Redis server.
pub const REDIS_PORT: &str = "REDIS_PORT";

/// Number of requests before counting starts.
const WARM_UP: u32 = 100;

/// The pause between two requests, in which the server becomes idle, so that each request is one
/// round of its event loop.
const REST: Duration = Duration::from_millis(3);

/// Time for the service to fetch its keys, including valgrind's slowness. Each attempt before that
/// is counted.
const START_TIME: Duration = Duration::from_secs(1);

/// A server that was started.
#[derive(Debug, Clone, Copy)]
struct Ready {
    address: SocketAddr,
    /// The service's admin listener.
    admin: Option<SocketAddr>,
}

/// Serves, sends this number of requests, and ends. The service writes its response to `answer`,
/// where actix-web reads it.
pub fn run(subject: Subject, requests: u32, answer: &Path) {
    // Filling a pool of random numbers costs millions of instructions, and would happen at any
    // time.
    aws_lc_rs::rand::fill(&mut [0]).unwrap();
    let customers = if subject == Subject::Miss { WARM_UP + requests } else { 1 };
    let stand_in = Arc::new(StandIn::start(customers));
    let asked: Vec<_> = stand_in.tokens.iter().map(|token| plain::request(token)).collect();
    let ready = start(subject, Arc::clone(&stand_in), answer.to_owned());
    let mut client = BlockingClient::open(ready.address).unwrap();
    let first = until_ok(&mut client, &asked[0], ready.address);
    if subject == Subject::Hit {
        fs::write(answer, first).unwrap();
    }
    if subject == Subject::Miss {
        for request in &asked {
            assert!(is_ok(client.exchange(request).unwrap()));
        }
        purge(ready.admin.unwrap());
    }
    let mut asked = asked.iter().cycle().map(Vec::as_slice);
    ask(&mut client, &mut asked, WARM_UP);
    request_counted(&mut client, &mut asked, requests);
    // Responses are not parsed, because that would be counted, too.
    drop(stand_in);
    std::process::exit(0);
}

/// Sends requests until keys are available, and then another one; returns the response, a hit.
fn until_ok(client: &mut BlockingClient, request: &[u8], address: SocketAddr) -> Vec<u8> {
    while !is_ok(client.exchange(request).unwrap()) {
        thread::sleep(START_TIME);
        *client = BlockingClient::open(address).unwrap();
    }
    client.exchange(request).unwrap().to_vec()
}

/// Purges all customers, but not the verified tokens.
fn purge(admin: SocketAddr) {
    let request = b"POST /cache/purge HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"all\":true}";
    assert!(is_ok(BlockingClient::open(admin).unwrap().exchange(request).unwrap()));
}

/// Counting starts here (`--dump-before`), so this name must exist in the program.
#[inline(never)]
fn request_counted<'r>(
    client: &mut BlockingClient,
    asked: &mut impl Iterator<Item = &'r [u8]>,
    times: u32,
) {
    ask(client, asked, times);
}

/// A response is complete when its JSON is. Parsing its head would be counted, too.
fn ask<'r>(client: &mut BlockingClient, asked: &mut impl Iterator<Item = &'r [u8]>, times: u32) {
    for request in asked.take(usize::try_from(times).unwrap()) {
        thread::sleep(REST);
        let answer = client.exchange_until(request, |answer| answer.ends_with(b"}")).unwrap();
        assert!(is_ok(answer));
    }
}

/// Starts the server in a thread of its own.
fn start(subject: Subject, stand_in: Arc<StandIn>, answer: PathBuf) -> Ready {
    let (ready, started) = mpsc::channel();
    thread::spawn(move || match subject {
        Subject::Bare => serve_bare(&answer, None, &ready),
        Subject::Asking => serve_bare(&answer, Some(question(&stand_in)), &ready),
        Subject::Hit | Subject::Miss => serve(&stand_in, "log.access = \"off\"", &ready),
        Subject::Shared => serve(&stand_in, &shared_settings(), &ready),
        Subject::Logged => serve(&stand_in, "", &ready),
        Subject::First => {
            serve(&stand_in, "log.access = \"off\"\nauth.verified_tokens = 0", &ready);
        }
    });
    started.recv().unwrap()
}

fn serve_bare(answer: &Path, question: Option<JuspayCall>, ready: &Sender<Ready>) {
    let answer = RecordedResponse::read(&fs::read(answer).unwrap());
    let listen = ([127, 0, 0, 1], 0).into();
    actix_web::rt::System::new().block_on(async {
        let (server, address) = match question {
            None => bare::serve(answer, 1, listen).unwrap(),
            Some(question) => bare::serve_fetching(answer, question, 1, listen).unwrap(),
        };
        ready.send(Ready { address, admin: None }).unwrap();
        server.await.unwrap();
    });
}

/// The call to Juspay of the bare server; `sim_key:` in base64 (RFC 7617).
fn question(stand_in: &StandIn) -> JuspayCall {
    let StandIn { base_url, merchant, .. } = stand_in;
    JuspayCall {
        url: format!("{base_url}/customers/bench_00000?options.get_client_auth_token=true"),
        key: "Basic c2ltX2tleTo=".to_owned(),
        merchant: merchant.clone(),
    }
}

fn serve(stand_in: &StandIn, more: &str, ready: &Sender<Ready>) {
    actix_web::rt::System::new().block_on(async {
        let settings = Sources::default().text("the run's", settings(stand_in, more));
        let loaded = settings.load().unwrap();
        telemetry::init(&loaded.settings.log).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(FixedClock);
        let application = Application::build(loaded, clock).unwrap();
        let address = application.public_addresses()[0];
        ready.send(Ready { address, admin: Some(application.admin_addresses()[0]) }).unwrap();
        application.run(std::future::pending()).await.unwrap();
    });
}

/// The settings of a shared tier on this server. `valgrind` starts it and writes the keys.
fn shared_settings() -> String {
    let port = std::env::var(REDIS_PORT).unwrap();
    format!(
        r#"
        log.access = "off"
        shared.url = "redis://127.0.0.1:{port}"
        shared.key_file = "target/instructions/key"
        shared.name_key_file = "target/instructions/name-key"
        "#
    )
}

/// The same as in `make bench`: limits are checked, but are too high to reject requests.
fn settings(stand_in: &StandIn, more: &str) -> String {
    let StandIn { base_url, merchant, issuer_url, .. } = stand_in;
    format!(
        r#"
        server.listen = "127.0.0.1:0"
        server.admin_listen = "127.0.0.1:0"
        server.workers = 1
        juspay.base_url = "{base_url}"
        juspay.merchant_id = "{merchant}"
        juspay.api_key = "sim_key"
        auth.issuers.main.issuer = "{issuer_url}"
        auth.issuers.main.audiences = ["juspay-bff-demo"]
        auth.issuers.main.algorithms = ["RS256"]
        auth.issuers.main.discovery = true
        cache.max_hand_outs = 1000000
        limits.per_customer = "100000000/h"
        {more}
        "#
    )
}
