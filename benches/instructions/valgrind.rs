//! Runs this program under valgrind, which counts instructions and allocations.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    redis_server::free_port,
    subject::{REDIS_PORT, Subject},
};

/// Number of requests whose instructions are counted.
const REQUESTS: u32 = 300;

/// Number of requests whose allocations are counted. More, because allocations before the first
/// request are counted as well, and vary by some hundreds with the time that the service waits for
/// its keys.
const ALLOCATING_REQUESTS: u32 = 3000;

/// Directory of the profiles.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/instructions");

/// glibc's generic memcpy and memset. The machine determines which optimized variant glibc uses,
/// and valgrind counts some of them per byte.
const PLAIN_LIBC: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM";

/// Instructions of one request.
pub fn instructions(subject: Subject) -> f64 {
    let count = |requests| {
        let out = file(&format!("{subject:?}.{requests}.out"));
        let arguments = [
            "--tool=callgrind".to_owned(),
            "--dump-before=*request_counted*".to_owned(),
            format!("--callgrind-out-file={}", out.display()),
        ];
        run(&arguments, subject, requests);
        // Counts before the first request are in another file.
        let text = fs::read_to_string(out).unwrap();
        number(text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("totals"))
    };
    (count(REQUESTS) - count(0)) / f64::from(REQUESTS)
}

/// Allocations of one request.
pub fn allocations(subject: Subject) -> f64 {
    let count = |requests| {
        let arguments = ["--tool=dhat".to_owned(), "--dhat-out-file=/dev/null".to_owned()];
        let output = run(&arguments, subject, requests);
        // `==1== Total:     12,345 bytes in 678 blocks`
        let line = output.lines().find(|line| line.contains(" Total: ")).expect("a total");
        let (_, blocks) = line.rsplit_once(" bytes in ").unwrap();
        number(blocks.strip_suffix(" blocks").unwrap())
    };
    (count(ALLOCATING_REQUESTS) - count(0)) / f64::from(ALLOCATING_REQUESTS)
}

/// Returns the output of valgrind.
fn run(arguments: &[String], subject: Subject, requests: u32) -> String {
    let redis = (subject == Subject::Shared).then(Redis::start);
    let port = redis.as_ref().map(|it| it.port).unwrap_or_default();
    let output = Command::new("valgrind")
        .env("GLIBC_TUNABLES", PLAIN_LIBC)
        .env(REDIS_PORT, port.to_string())
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--subject", &format!("{subject:?}").to_lowercase()])
        .args(["--requests", &requests.to_string()])
        .arg("--answer")
        .arg(file("answer"))
        .stdout(Stdio::null())
        .output()
        .expect("valgrind is installed (benches/instructions/run does it)");
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{report}");
    report
}

/// A Redis server, killed when dropped.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Self {
        for (name, content) in [("key", "a1"), ("name-key", "b2")] {
            fs::write(file(name), content.repeat(32)).unwrap();
        }
        let port = free_port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (benches/instructions/run does it)");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Self { process, port }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn file(name: &str) -> PathBuf {
    fs::create_dir_all(DIRECTORY).unwrap();
    Path::new(DIRECTORY).join(name.to_lowercase())
}

/// `12,345`
fn number(text: &str) -> f64 {
    text.replace(',', "").trim().parse().unwrap()
}
