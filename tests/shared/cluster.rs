//! A cluster of three primaries and three replicas: the failure of one primary affects only its slots.

use std::time::Duration;

use juspay_bff::shared::LookUp;

use super::{
    redis_server,
    replica::{Replica, SetUp, id, until},
    server::{self, Server},
    sharing::serve_with_five,
};

/// Enough customers that each primary has some.
const CUSTOMERS: usize = 60;

/// The time in which sharing must be back for the slots of a failed primary.
const RECOVERY: Duration = Duration::from_secs(10);

pub(super) struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// The first three nodes are primaries.
    pub(super) fn start() -> Self {
        let own = [
            "--cluster-config-file",
            "nodes.conf",
            // Otherwise, all slots are down while one is.
            "--cluster-require-full-coverage",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let arguments = [&redis_server::NODE[..], &own].concat();
        let nodes: Vec<_> = (0..redis_server::NODES).map(|_| Server::with(&arguments)).collect();
        redis_server::create_cluster(nodes.iter().map(|node| node.port));
        let cluster = Self { nodes };
        server::until("the cluster is ready", || {
            let is_ready = |node: &Server| {
                let info: String = node.run("CLUSTER INFO");
                let nodes: String = node.run("CLUSTER NODES");
                let replicas = nodes.lines().filter(|line| line.contains("slave"));
                let replication: String = node.run("INFO replication");
                info.contains("cluster_state:ok")
                    && replicas.count() == 3
                    && !replication.contains("master_link_status:down")
            };
            cluster.nodes.iter().all(is_ready).then_some(())
        });
        cluster
    }

    pub(super) fn url(&self) -> String {
        self.nodes[0].url()
    }

    fn set_up(&self) -> SetUp {
        SetUp::new(self.url()).settings("shared.topology = 'cluster'")
    }

    async fn replica(&self) -> Replica {
        self.set_up().timeout(Duration::from_millis(200)).connected().await
    }
}

/// How many customers' look-ups are away.
async fn away(replica: &Replica) -> usize {
    let mut away = 0;
    for number in 0..CUSTOMERS {
        let result = replica.look_up(&format!("customer-{number}")).await;
        away += usize::from(matches!(result, LookUp::Away(_)));
    }
    away
}

async fn recovers(replica: &Replica) -> Duration {
    let start = replica.clock.monotonic();
    until("all customers are shared again", async || away(replica).await == 0).await;
    replica.clock.monotonic().since(start)
}

/// After the failure of a primary: waits until it is noticed and all customers are shared again.
async fn only_some_customers_were_away(replica: &Replica) {
    let mut most = 0;
    until("it is noticed", async || {
        most = away(replica).await.max(most);
        most > 0
    })
    .await;
    most = away(replica).await.max(most);
    assert!(most < CUSTOMERS * 2 / 3, "{most} of {CUSTOMERS} were away");
    let recovery = recovers(replica).await;
    println!("{most} of {CUSTOMERS} were away, for {recovery:?}");
    assert!(recovery < RECOVERY, "{recovery:?}");
}

async fn filled(cluster: &Cluster) -> (Replica, Replica) {
    let (a, b) = (cluster.replica().await, cluster.replica().await);
    for number in 0..CUSTOMERS {
        let customer = format!("customer-{number}");
        a.fetch(&customer).await;
        b.found(&customer).await;
    }
    (a, b)
}

#[tokio::test]
async fn cluster_shares_and_announces() {
    use juspay_bff::shared::{Event, News, SharedTier as _};
    let cluster = Cluster::start();
    let (a, mut b) = filled(&cluster).await;
    let used = cluster.nodes.iter().filter(|node| node.run::<u64>("DBSIZE") > 5).count();
    assert!(used >= 3, "{used} nodes have customers");
    a.tier.purge(&id("customer-1")).await.unwrap();
    a.tier.announce(News::Purged(id("customer-1"))).await.unwrap();
    let news = Event::News(News::Purged(id("customer-1")));
    super::replica::event(&mut b.events, |event| *event == news).await;
    assert!(matches!(b.look_up("customer-1").await, LookUp::Fetch(_, None)));
    a.tier.purge_all().await.unwrap();
    super::replica::event(&mut b.events, |event| *event == Event::PurgedAll).await;
    assert!(matches!(b.look_up("customer-2").await, LookUp::Fetch(_, None)));
}

#[test]
fn p4_many_replicas_make_one_fetch_per_customer_in_a_cluster() {
    let cluster = Cluster::start();
    serve_with_five(|| cluster.set_up(), 200);
}

#[tokio::test]
async fn killed_primary_affects_only_its_slots() {
    let mut cluster = Cluster::start();
    let (a, _b) = filled(&cluster).await;
    // The third, so that the address in the settings still responds.
    cluster.nodes[2].kill();
    only_some_customers_were_away(&a).await;
}

#[tokio::test]
async fn hung_primary_affects_only_its_slots() {
    let cluster = Cluster::start();
    let (a, _b) = filled(&cluster).await;
    cluster.nodes[1].stop();
    only_some_customers_were_away(&a).await;
    cluster.nodes[1].resume();
}
