//! The simulator and its issuer in a process of their own, so that their instructions are not
//! counted.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use simulator::{Algorithm, MintRequest};

use super::fixed_clock::FixedClock;

/// A running simulator, stopped when dropped.
#[derive(Debug)]
pub struct StandIn {
    pub base_url: String,
    pub merchant: String,
    pub issuer_url: String,
    /// Access tokens, each of another customer.
    pub tokens: Vec<String>,
    /// Exits when this end of its standard input is closed.
    _process: Child,
}

impl StandIn {
    /// Starts a simulator that mints this number of tokens.
    pub fn start(tokens: u32) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--stand-in", &tokens.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (base_url, merchant, issuer_url) = (line(), line(), line());
        let tokens = (0..tokens).map(|_| line()).collect();
        Self { base_url, merchant, issuer_url, tokens, _process: process }
    }
}

/// Runs the simulator.
pub fn run(tokens: u32) {
    actix_web::rt::System::new().block_on(async {
        let config = simulator::Config::on_free_ports();
        let config = simulator::Config { clock: Arc::new(FixedClock), ..config };
        let juspay = simulator::start(config).await.unwrap();
        let (simulator, issuer) = (juspay.simulator(), juspay.issuer());
        println!("{}\n{}\n{}", simulator.base_url(), simulator.merchant(), issuer.issuer_url());
        for number in 0..tokens {
            // Ids of the same length, so that all responses have the same length.
            let wish = MintRequest::of(&format!("bench_{number:05}"));
            let wish = MintRequest { algorithm: Algorithm::RS256, ..wish };
            println!("{}", issuer.mint(&wish).unwrap());
        }
        let wait = || std::io::stdin().read_to_end(&mut Vec::new());
        actix_web::rt::task::spawn_blocking(wait).await.unwrap().unwrap();
    });
}
