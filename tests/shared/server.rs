//! A Redis server of a test, with a connection for its administrator. Dropping it kills it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use redis::{Client, Connection, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::redis_server::free_port;

/// A running server.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

/// The time in which servers must react.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` yields something.
pub(super) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if let Some(value) = condition() {
            return value;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("in vain for {PATIENCE:?}: {what}");
}

impl Server {
    /// A server without persistence.
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with further arguments.
    pub(super) fn with(arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        let child = launch(port, directory.path(), &arguments);
        let server = Self { child, port, arguments, directory };
        server.wait();
        server
    }

    /// Waits until it answers.
    fn wait(&self) {
        until("the server is ready", || {
            let mut connection = self.client().get_connection().ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        });
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn client(&self) -> Client {
        let password = self.arguments.iter().position(|it| it == "--requirepass");
        let password = password.map(|at| format!(":{}@", self.arguments[at + 1]));
        let password = password.unwrap_or_default();
        Client::open(format!("redis://{password}127.0.0.1:{}", self.port)).unwrap()
    }

    pub(super) fn connection(&self) -> Connection {
        self.client().get_connection().unwrap()
    }

    /// Runs a command of its administrator, such as `"CONFIG SET maxmemory 1mb"`.
    pub(super) fn run<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.connection()).unwrap()
    }

    /// The names of all keys that end like this.
    pub(super) fn keys(&self, end: &str) -> Vec<String> {
        self.run(&format!("KEYS *{end}"))
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Stops the process without ending it.
    pub(super) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again at the same port.
    pub(super) fn start_again(&mut self) {
        self.child = launch(self.port, self.directory.path(), &self.arguments);
    }

    /// Starts it again; loading its data takes until [`Self::finish_loading`] or several seconds.
    pub(super) fn start_slowly(&mut self) {
        let mut arguments = self.arguments.clone();
        // Microseconds for each of 20,000 keys.
        let delay = arguments.iter().position(|it| it == "--key-load-delay").unwrap();
        "500".clone_into(&mut arguments[delay + 1]);
        arguments.extend(["--loading-process-events-interval-bytes", "1024"].map(str::to_owned));
        self.child = launch(self.port, self.directory.path(), &arguments);
    }

    /// Whether it rejects commands because it is loading.
    pub(super) fn is_loading(&self) -> bool {
        let Ok(mut connection) = self.client().get_connection() else { return false };
        let response = redis::cmd("GET").arg("x").query::<Option<String>>(&mut connection);
        response.is_err_and(|error| error.code() == Some("LOADING"))
    }

    /// Loads the rest of its data at once.
    pub(super) fn finish_loading(&self) {
        let () = self.run("CONFIG SET key-load-delay 0");
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn launch(port: u16, directory: &Path, arguments: &[String]) -> Child {
    let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--dir", directory.to_str().unwrap(), "--logfile", "log"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{error}: use tests/shared/run"))
}
