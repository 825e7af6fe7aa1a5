//! What the tests and the runs with real Redis servers share: ports, and a cluster.

use std::{net::TcpListener, process::Command};

/// The number of nodes of a cluster: three primaries, each with a replica.
pub(super) const NODES: usize = 6;

/// The arguments of a node, in addition to the name of its file.
pub(super) const NODE: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];

/// A port that was free a moment ago. A cluster's nodes also use the port above by 10,000.
pub(super) fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// Makes these running nodes a cluster. The first three are the primaries.
pub(super) fn create_cluster(ports: impl Iterator<Item = u16>) {
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(ports.map(|port| format!("127.0.0.1:{port}")))
        .args(["--cluster-replicas", "1", "--cluster-yes"])
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
}
