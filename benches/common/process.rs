//! A child process: its output in a file, its end with its handle's, and what `/proc` says of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_juspay-bff");

/// `USER_HZ`: the same on every Linux that we know.
const TICKS_A_SECOND: u64 = 100;

/// Bytes of piped output that are kept.
const MOST_KEPT: usize = 1 << 16;

/// How long a process may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// Between two looks at what a process holds.
const WATCH: Duration = Duration::from_millis(100);

/// A running `juspay-bff`. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holding {
    /// Resident memory, KiB.
    pub rss: u64,
    /// Open files.
    pub files: u64,
}

impl Holding {
    /// The more of each.
    pub fn max(self, other: Self) -> Self {
        Self { rss: self.rss.max(other.rss), files: self.files.max(other.files) }
    }
}

impl Process {
    /// Starts `juspay-bff` in `directory`, on these cores only where `taskset` can do that.
    pub fn start(name: &str, arguments: &[&str], cores: Option<&str>, directory: &Path) -> Self {
        let output = directory.join(format!("{name}.log"));
        let mut command = command(PROGRAM, arguments, cores, directory);
        command.stdout(fs::File::create(&output).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { child, output }
    }

    /// Starts any program likewise, its output read from a pipe, as a container's is. What it says
    /// first is kept, the rest isn't.
    pub fn start_piped(
        name: &str,
        program: &str,
        arguments: &[&str],
        cores: Option<&str>,
        directory: &Path,
    ) -> Self {
        let output = directory.join(format!("{name}.log"));
        let mut file = fs::File::create(&output).unwrap();
        let mut command = command(program, arguments, cores, directory);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdout.take().unwrap();
        thread::spawn(move || {
            let (mut space, mut left) = (vec![0; 1 << 16], MOST_KEPT);
            while let Ok(length @ 1..) = pipe.read(&mut space) {
                let kept = length.min(left);
                file.write_all(&space[..kept]).unwrap();
                left -= kept;
            }
        });
        Self { child, output }
    }

    /// The service's public and admin addresses, by its log.
    pub async fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        self.said(addresses).await
    }

    /// What `find` makes of the output, once it makes something of it.
    pub async fn said<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let text = self.output();
            if let Some(found) = find(&text) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < START, "{ended:?}: {text}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that it has written.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }

    /// The time of a core that it has used.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The 14th and 15th field of proc_pid_stat(5), counted behind the name's parenthesis.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks =
            fields.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().unwrap()).sum::<u64>();
        Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
    }

    /// Its memory, KiB: what it has for itself, and its share of the rest. Only root may read this
    /// of a process that lets nobody read its memory; others get the resident size.
    pub fn memory(&self) -> u64 {
        let directory = Path::new("/proc").join(self.child.id().to_string());
        let read = |file: &str, name: &str| {
            let text = fs::read_to_string(directory.join(file)).ok()?;
            let kib =
                |line: &str| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok();
            text.lines().find_map(kib)
        };
        read("smaps_rollup", "Pss:")
            .or_else(|| read("status", "VmRSS:"))
            .expect("it runs, on Linux")
    }

    /// Lets `work` come to its end; gives the most of each that it held meanwhile, besides.
    pub async fn watched<T>(&self, work: impl Future<Output = T>) -> (T, Holding) {
        let mut work = pin!(work);
        let mut most = self.holding();
        loop {
            tokio::select! {
                done = &mut work => return (done, most),
                () = sleep(WATCH) => most = most.max(self.holding()),
            }
        }
    }

    /// What it holds now.
    pub fn holding(&self) -> Holding {
        let directory = Path::new("/proc").join(self.child.id().to_string());
        let status = fs::read_to_string(directory.join("status")).expect("it runs, on Linux");
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        let files = fs::read_dir(directory.join("fd")).unwrap().count();
        Holding { rss: rss.expect("VmRSS"), files: u64::try_from(files).unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A program in `directory`, on these cores only.
fn command(program: &str, arguments: &[&str], cores: Option<&str>, directory: &Path) -> Command {
    let mut command = match cores {
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores, program]);
            command
        }
        None => Command::new(program),
    };
    // No setting comes from whoever started us.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command
}

/// Where the service listens, by its log.
fn addresses(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["message"] == "serving")?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    Some((address("public")?, address("admin")?))
}

/// Processes that want all of a core, beside whoever else is there. Dropped, they end.
#[derive(Debug)]
pub struct Neighbours(Vec<Child>);

impl Neighbours {
    /// So many on these cores.
    pub fn start(number: usize, cores: &str) -> Self {
        // Each replaces the one before, so that the child is the last; it ends with us in any case.
        let child = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"];
        let busy = [["-c", cores].as_slice(), &child].concat();
        let start = |_| Command::new("taskset").args(&busy).spawn().unwrap();
        Self((0..number).map(start).collect())
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// Either may find that it has ended already.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Two sets of cores, for the service and for all else; `None` where they can't be kept apart.
/// Found out once: who is pinned sees fewer cores.
pub fn apart() -> Option<(String, String)> {
    static APART: OnceLock<Option<(String, String)>> = OnceLock::new();
    let find = || {
        let cores = std::thread::available_parallelism().ok()?.get();
        let works = Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok();
        (works && cores > 1).then(|| ("0".to_owned(), format!("1-{}", cores - 1)))
    };
    APART.get_or_init(find).clone()
}

/// Keeps this process on these cores.
pub fn pin_self(cores: &str) {
    let me = std::process::id().to_string();
    let pinned =
        Command::new("taskset").args(["-a", "-c", "-p", cores, &me]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "taskset -p {cores}");
}

/// Lets this thread run only when no other wants its core (`SCHED_IDLE`, sched(7)).
pub fn idle_thread() {
    let thread = rustix::thread::gettid().to_string();
    let status = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(status.is_ok_and(|status| status.success()), "chrt --idle --pid 0 {thread}");
}
