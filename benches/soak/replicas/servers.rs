//! The Redis servers of a run: a single one, or a cluster of three primaries and three replicas.

use std::{path::Path, process::Command, time::Duration};

use tokio::time::sleep;

use crate::{
    process::Process,
    redis_server::{self, free_port},
};

/// Running servers.
#[derive(Debug)]
pub struct Servers {
    servers: Vec<Server>,
    is_cluster: bool,
}

#[derive(Debug)]
struct Server {
    process: Process,
    port: u16,
}

/// Maximum wait for a server, in steps of 20 ms.
const MAX_STEPS: u32 = 1000;

impl Servers {
    pub async fn single(directory: &Path) -> Self {
        let servers = vec![Server::start(free_port(), &[], directory).await];
        Self { servers, is_cluster: false }
    }

    pub async fn cluster(directory: &Path) -> Self {
        let mut servers = Vec::new();
        for _ in 0..redis_server::NODES {
            let port = free_port();
            let file = format!("nodes-{port}.conf");
            let arguments = [&redis_server::NODE[..], &["--cluster-config-file", &file]].concat();
            servers.push(Server::start(port, &arguments, directory).await);
        }
        redis_server::create_cluster(servers.iter().map(|it| it.port));
        let cluster = Self { servers, is_cluster: true };
        for server in &cluster.servers {
            server.wait_for("CLUSTER INFO", "cluster_state:ok").await;
        }
        cluster
    }

    /// The settings of a replica.
    pub fn settings(&self) -> String {
        let topology = if self.is_cluster { "cluster" } else { "single" };
        format!(
            "shared.url = \"redis://127.0.0.1:{}\"\nshared.topology = \"{topology}\"\n",
            self.servers[0].port
        )
    }

    /// The process of the first server.
    pub fn first(&self) -> &Process {
        &self.servers[0].process
    }

    /// Runs a command on the first server.
    pub fn run(&self, command: &str) -> String {
        self.servers[0].run(command)
    }

    /// Kills the first server and starts it again, empty.
    pub async fn restart(&mut self, directory: &Path) {
        let port = self.servers[0].port;
        self.servers.remove(0);
        sleep(Duration::from_secs(1)).await;
        self.servers.insert(0, Server::start(port, &[], directory).await);
    }
}

impl Server {
    async fn start(port: u16, arguments: &[&str], directory: &Path) -> Self {
        let text = port.to_string();
        let common = ["--port", &text, "--save", "", "--appendonly", "no"];
        let name = format!("redis-{port}");
        let arguments = [&common[..], arguments].concat();
        // A real server has processors of its own. Without privileges, `nice` runs it as it is.
        let arguments = [&["-n", "-10", "redis-server"], &arguments[..]].concat();
        let process = Process::start_piped(&name, "nice", &arguments, None, directory);
        let server = Self { process, port };
        server.wait_for("PING", "PONG").await;
        server
    }

    async fn wait_for(&self, command: &str, part: &str) {
        for _ in 0..MAX_STEPS {
            if self.run(command).contains(part) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{command} never returned {part}: {}", self.run(command));
    }

    fn run(&self, command: &str) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command.split(' '))
            .output();
        let output = output.expect("redis-cli: tests/shared/install installs it");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
