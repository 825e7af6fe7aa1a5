//! A child process: its output goes to a file, dropping its handle kills it, and `/proc` shows what
//! it uses.

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

/// `USER_HZ`: the same on every Linux architecture in use.
const TICKS_A_SECOND: u64 = 100;

/// Maximum bytes kept of piped output.
const MAX_OUTPUT: usize = 1 << 16;

/// Maximum time until a process reports its addresses.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Interval of sampling a process's memory and files.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// A running `juspay-bff`, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
}

/// The resources of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resources {
    /// Resident memory, KiB.
    pub rss: u64,
    /// Open files.
    pub files: u64,
}

impl Resources {
    /// The larger value of each.
    pub fn max(self, other: Self) -> Self {
        Self { rss: self.rss.max(other.rss), files: self.files.max(other.files) }
    }
}

impl Process {
    /// Starts `juspay-bff` in `directory`, pinned to these cores if `taskset` can do that.
    pub fn start(name: &str, arguments: &[&str], cores: Option<&str>, directory: &Path) -> Self {
        let output = directory.join(format!("{name}.log"));
        let mut command = command(PROGRAM, arguments, cores, directory);
        command.stdout(fs::File::create(&output).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { child, output }
    }

    /// Starts any program in the same way, but reads its output from a pipe, like a container's.
    /// Only the beginning of the output is kept.
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
            let (mut space, mut left) = (vec![0; 1 << 16], MAX_OUTPUT);
            while let Ok(length @ 1..) = pipe.read(&mut space) {
                let kept = length.min(left);
                file.write_all(&space[..kept]).unwrap();
                left -= kept;
            }
        });
        Self { child, output }
    }

    /// The service's public and admin addresses, from its log.
    pub async fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        self.wait_for_output(addresses).await
    }

    /// Waits until `find` returns a value for the output.
    pub async fn wait_for_output<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let text = self.output();
            if let Some(found) = find(&text) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < START_TIMEOUT, "{ended:?}: {text}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The output up to now.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) {
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < START_TIMEOUT, "it does not end: {}", self.output());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The CPU time of the process.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The 14th and 15th field of proc_pid_stat(5), counted after the closing parenthesis of the
        // name.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks =
            fields.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().unwrap()).sum::<u64>();
        Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
    }

    /// Memory in KiB: private pages and a share of the shared ones. Only root may read this of a
    /// process that disables core dumps; other users get the resident size.
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

    /// Runs `work` to its end; also returns the maximum of each resource during it.
    pub async fn sample_during<T>(&self, work: impl Future<Output = T>) -> (T, Resources) {
        let mut work = pin!(work);
        let mut most = self.resources();
        loop {
            tokio::select! {
                done = &mut work => return (done, most),
                () = sleep(SAMPLE_INTERVAL) => most = most.max(self.resources()),
            }
        }
    }

    /// The resources at this moment.
    pub fn resources(&self) -> Resources {
        let directory = Path::new("/proc").join(self.child.id().to_string());
        let status = fs::read_to_string(directory.join("status")).expect("it runs, on Linux");
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        let files = fs::read_dir(directory.join("fd")).unwrap().count();
        Resources { rss: rss.expect("VmRSS"), files: u64::try_from(files).unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A command that runs in `directory`, pinned to these cores.
fn command(program: &str, arguments: &[&str], cores: Option<&str>, directory: &Path) -> Command {
    let mut command = match cores {
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores, program]);
            command
        }
        None => Command::new(program),
    };
    // The caller's environment must not change the settings.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command
}

/// The service's addresses, from its log.
fn addresses(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["message"] == "serving")?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    Some((address("public")?, address("admin")?))
}

/// Busy processes, each of which uses a whole core if it can. Killed when dropped.
#[derive(Debug)]
pub struct BusyProcesses(Vec<Child>);

impl BusyProcesses {
    /// Starts this number of busy processes on these cores.
    pub fn start(number: usize, cores: &str) -> Self {
        // Each program replaces the previous one, so the child is the last. `--pdeathsig` kills it
        // if this process dies.
        let child = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"];
        let busy = [["-c", cores].as_slice(), &child].concat();
        let start = |_| Command::new("taskset").args(&busy).spawn().unwrap();
        Self((0..number).map(start).collect())
    }
}

impl Drop for BusyProcesses {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// The process may have ended already.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Two disjoint sets of cores, for the service and for everything else; `None` if that is
/// impossible. Determined once, because a pinned process sees fewer cores.
pub fn separate_cores() -> Option<(String, String)> {
    static SEPARATE_CORES: OnceLock<Option<(String, String)>> = OnceLock::new();
    let find = || {
        let cores = std::thread::available_parallelism().ok()?.get();
        let works = Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok();
        (works && cores > 1).then(|| ("0".to_owned(), format!("1-{}", cores - 1)))
    };
    SEPARATE_CORES.get_or_init(find).clone()
}

/// Pins this process to these cores.
pub fn pin_self(cores: &str) {
    let me = std::process::id().to_string();
    let pinned =
        Command::new("taskset").args(["-a", "-c", "-p", cores, &me]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "taskset -p {cores}");
}

/// Lets this thread run only if no other needs its core (`SCHED_IDLE`, sched(7)).
pub fn idle_thread() {
    let thread = rustix::thread::gettid().to_string();
    let status = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(status.is_ok_and(|status| status.success()), "chrt --idle --pid 0 {thread}");
}
