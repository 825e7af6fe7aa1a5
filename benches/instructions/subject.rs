//! What is counted: the service as it is served, or actix-web alone, asked by a client in the same
//! process over loopback.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use clap::ValueEnum;
use juspay_bff::{
    application::Application,
    clock::Clock,
    settings::Sources,
    simulator::{self, MintRequest},
    telemetry,
};

use super::{
    bare::{self, Answer},
    plain::{Plain, is_ok, request},
    standing::StandingClock,
};

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The service, access log off.
    Hit,
    /// The service, access log on.
    Logged,
    /// actix-web alone.
    Bare,
}

/// Asked so often first, that all is warm.
const WARM_UP: u32 = 100;

/// Between two requests the server comes to rest, so that each is one round of its event loop.
const REST: Duration = Duration::from_millis(3);

/// Time for the service to get its keys, valgrind's slowness included: each try too early is counted.
const START: Duration = Duration::from_secs(1);

/// A claim that makes the token as long as one with an RSA signature. RSA keys take a different
/// number of instructions to make each time.
const PADDING: usize = 192;

/// The length of the service's tokens, for those that nobody reads.
const BARE_TOKEN: usize = 740;

/// A server on its way: where it listens, and a token for it.
type Ready = (SocketAddr, String);

/// Serves, asks so often, and ends. The service leaves an answer at `answer`, where actix-web
/// alone takes it from.
pub fn run(subject: Subject, requests: u32, answer: &Path) {
    let (ready, started) = mpsc::channel();
    let recorded = answer.to_owned();
    thread::spawn(move || match subject {
        Subject::Bare => serve_bare(&recorded, &ready),
        Subject::Hit => serve("off", &ready),
        Subject::Logged => serve("all", &ready),
    });
    let (address, token) = started.recv().unwrap();
    let mut client = Plain::open(address).unwrap();
    let request = request(&token);
    let first = until_ok(&mut client, &request, address);
    if subject == Subject::Hit {
        fs::write(answer, first).unwrap();
    }
    ask(&mut client, &request, WARM_UP);
    ask_counted(&mut client, &request, requests);
    // Nothing is taken apart, as that would be counted, too.
    std::process::exit(0);
}

/// Asks until keys are there, and then once more: the answer of a hit.
fn until_ok(client: &mut Plain, request: &[u8], address: SocketAddr) -> Vec<u8> {
    while !is_ok(client.exchange(request).unwrap()) {
        thread::sleep(START);
        *client = Plain::open(address).unwrap();
    }
    client.exchange(request).unwrap().to_vec()
}

/// From here on is counted (`--dump-before`), so the name must be found in the program.
#[inline(never)]
fn ask_counted(client: &mut Plain, request: &[u8], times: u32) {
    ask(client, request, times);
}

/// All answers are hits of the same length.
fn ask(client: &mut Plain, request: &[u8], times: u32) {
    let length = client.exchange(request).unwrap().len();
    for _ in 0..times {
        thread::sleep(REST);
        let answer = client.exchange_until(request, |answer| answer.len() >= length).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.len() == length);
    }
}

fn serve_bare(answer: &Path, ready: &Sender<Ready>) {
    let answer = Answer::read(&fs::read(answer).unwrap());
    actix_web::rt::System::new().block_on(async {
        let (server, address) = bare::serve(answer, 1, ([127, 0, 0, 1], 0).into()).unwrap();
        ready.send((address, "x".repeat(BARE_TOKEN))).unwrap();
        server.await.unwrap();
    });
}

fn serve(access: &str, ready: &Sender<Ready>) {
    actix_web::rt::System::new().block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(StandingClock);
        let config = simulator::Config::on_free_ports();
        let config = simulator::Config { clock: Arc::clone(&clock), ..config };
        let juspay = simulator::start(config).await.unwrap();
        let wish = MintRequest::of("bench_0").with("padding", "x".repeat(PADDING));
        let token = juspay.issuer().mint(&wish).unwrap();
        let settings = Sources::default().text("the run's", settings(&juspay, access));
        let loaded = settings.load().unwrap();
        telemetry::init(&loaded.settings.log).unwrap();
        let application = Application::build(loaded, clock).unwrap();
        ready.send((application.public_addresses()[0], token)).unwrap();
        application.run(std::future::pending()).await.unwrap();
    });
}

/// As `make bench` has them: limits are in the path, but too high to refuse.
fn settings(juspay: &simulator::Running, access: &str) -> String {
    let (simulator, issuer) = (juspay.simulator(), juspay.issuer());
    format!(
        r#"
        server.listen = "127.0.0.1:0"
        server.admin_listen = "127.0.0.1:0"
        server.workers = 1
        juspay.base_url = "{}"
        juspay.merchant_id = "{}"
        juspay.api_key = "sim_key"
        auth.issuers.main.issuer = "{}"
        auth.issuers.main.audiences = ["juspay-bff-demo"]
        auth.issuers.main.algorithms = ["ES256"]
        auth.issuers.main.discovery = true
        cache.max_hand_outs = 1000000
        limits.per_customer = "100000000/h"
        log.access = "{access}"
        "#,
        simulator.base_url(),
        simulator.merchant(),
        issuer.issuer_url(),
    )
}
