//! Checks the shared tier's server: the connection with TLS and password, what the server is, the right
//! to each script, an encrypted entry there and back, its clock, and what it does when its memory is full.

use std::{io, sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::{
    CheckContext,
    report::{Report, format_duration},
};
use crate::{
    operator::capacity::SHARED_ENTRY_BYTES,
    settings::{RedisAddress, RedisUrl, Topology},
    shared::redis::inspection::{
        Identity, Inspected, Inspection, Memory, RoundTrip, RoundTripError, StepError,
    },
};

/// Largest difference of clocks that is no warning.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// With a larger difference, the server drops revocations before they expire (`revoke.lua`).
const REVOCATION_LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// The user of docs/shared-tier.md.
const RIGHTS_FIX: &str = "give the user the rights in docs/shared-tier.md#access-control";

pub(super) async fn check(context: &CheckContext<'_>, report: &mut Report<'_>) -> io::Result<()> {
    let Some(url) = &context.settings.shared.url else { return Ok(()) };
    let inspection = match Inspection::open(context.settings, Arc::clone(&context.clock)) {
        Ok(inspection) => inspection,
        Err(error) => {
            let fix = "write the keys to the files and let this process read them";
            return report.failed("shared", &error.to_string(), fix);
        }
    };
    let server = match inspection.connect().await {
        Ok(server) => server,
        Err(error) => {
            let is_topology = error == StepError::NotACluster;
            let subject = if is_topology { "shared.topology" } else { "shared.url" };
            return report.failed(subject, &error.to_string(), &fix_for(&error));
        }
    };
    let identity = server.identity().await;
    connection(url, &server, identity.as_ref().ok(), report)?;
    if let Ok(identity) = &identity
        && !topology(identity, context, report)?
    {
        return Ok(());
    }
    let round_trip = server.round_trip().await;
    scripts(&server, &round_trip, report).await?;
    if let Ok(trip) = &round_trip {
        speed(trip, context.settings.shared.timeout, report)?;
        clock(trip, report)?;
    }
    memory(&server.memory().await, report)
}

fn connection(
    url: &RedisUrl,
    server: &Inspected<'_>,
    identity: Option<&Identity>,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let tls = match &url.address {
        RedisAddress::Tcp { is_tls: true, .. } => " with TLS",
        RedisAddress::Tcp { .. } | RedisAddress::Unix(_) => "",
    };
    let user = url.user.as_ref().map(|user| format!(" as {user}")).unwrap_or_default();
    let program = identity.map(|it| format!(" to {}", it.program)).unwrap_or_default();
    let took = server.took;
    report.ok("shared.url", &format!("connected{program}{tls}{user} in {}", millis(took)))
}

/// Whether the rest can be checked.
fn topology(
    identity: &Identity,
    context: &CheckContext<'_>,
    report: &mut Report<'_>,
) -> io::Result<bool> {
    let key = "shared.topology";
    match (context.settings.shared.topology, identity) {
        (Topology::Single, Identity { is_cluster: true, .. }) => {
            report.failed(key, "the server is a node of a cluster", "set it to \"cluster\"")?;
            return Ok(false);
        }
        (Topology::Single, Identity { is_replica: true, .. }) => {
            let fix = "set shared.url to the primary's address";
            report.failed("shared.url", "the server is a read-only replica", fix)?;
            return Ok(false);
        }
        (Topology::Single, _) => report.ok(key, "the server is a single primary")?,
        (Topology::Cluster, _) => report.ok(key, "the server is a cluster")?,
    }
    Ok(true)
}

async fn scripts(
    server: &Inspected<'_>,
    round_trip: &Result<RoundTrip, RoundTripError>,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let subject = "shared scripts";
    let entry = "shared entry";
    match round_trip {
        Ok(_) => report.ok(entry, "an entry was encrypted, stored, read and decrypted")?,
        Err(RoundTripError::Different) => {
            let fix = "use a server that returns what was stored";
            report.failed(entry, "the entry that was stored is not the one that was read", fix)?;
        }
        Err(RoundTripError::Encryption) => {
            report.failed(
                entry,
                "an entry could not be encrypted",
                "report it to the developers",
            )?;
        }
        Err(RoundTripError::Script(name, error)) => {
            return failed_script(subject, name, error, report);
        }
    }
    match server.other_scripts().await {
        Ok(()) => report.ok(subject, "the server runs all of them")?,
        Err(RoundTripError::Script(name, error)) => {
            failed_script(subject, name, &error, report)?;
        }
        Err(RoundTripError::Different | RoundTripError::Encryption) => {}
    }
    if let Err(error) = server.hints().await {
        let found = format!("{error}: purges reach other replicas up to 1 s later");
        report.warning("shared hints", &found, RIGHTS_FIX)?;
    }
    Ok(())
}

fn failed_script(
    subject: &str,
    name: &str,
    error: &StepError,
    report: &mut Report<'_>,
) -> io::Result<()> {
    report.failed(subject, &format!("{}: {error}", name.to_lowercase()), &fix_for(error))
}

fn fix_for(error: &StepError) -> String {
    match error {
        StepError::Lookup => "check the host in shared.url and this machine's DNS",
        StepError::Unreachable(_) => {
            "check host and port in shared.url, that the server runs, and that network policies \
             and firewalls allow the connection"
        }
        StepError::Tls => {
            "check that the server uses TLS at this port, and set shared.ca_file to the root \
             certificates of its authority; the certificate must contain the host in shared.url"
        }
        StepError::Silent => {
            "write rediss:// in shared.url only if the server uses TLS at this port; otherwise check \
             the server"
        }
        StepError::Closed => {
            "write rediss:// in shared.url if the server uses TLS at this port; otherwise check \
             that it is Redis or Valkey"
        }
        StepError::Timeout => "find what is slow between this machine and the server",
        StepError::PasswordFile => "write the password to shared.password_file",
        StepError::Credentials => {
            "check the user in shared.url and the password in shared.password_file"
        }
        StepError::Right(_) => RIGHTS_FIX,
        StepError::Scripts => {
            "use a server that allows EVAL and EVALSHA (docs/shared-tier.md#servers)"
        }
        StepError::NotACluster => "set shared.topology to \"single\"",
        StepError::Cluster => "set shared.topology to \"cluster\"",
        StepError::OutOfMemory => "raise maxmemory, and set maxmemory-policy to allkeys-lru",
        StepError::Other(_) | StepError::Response => {
            "use Redis from 6.2 or Valkey, and a primary that has loaded its data"
        }
    }
    .to_owned()
}

/// A request waits at most `shared.timeout` for a look-up, so its usual time should be far below.
fn speed(trip: &RoundTrip, timeout: Duration, report: &mut Report<'_>) -> io::Result<()> {
    let found = format!("a look-up took {}, of {} at most", millis(trip.look_up), millis(timeout));
    if trip.look_up.saturating_mul(2) <= timeout {
        return report.ok("shared.timeout", &found);
    }
    let fix = "use a server in the same region, or raise shared.timeout";
    report.warning("shared.timeout", &found, fix)
}

fn clock(trip: &RoundTrip, report: &mut Report<'_>) -> io::Result<()> {
    let subject = "shared clock";
    let ahead = crate::clock::skew(trip.server, trip.sent, trip.received);
    let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
    let found = format!("{} {direction} this machine's", format_duration(ahead.abs()));
    let fix = "synchronize the clocks of the server and of this machine (NTP)";
    if ahead.abs() <= MAX_SKEW {
        report.ok(subject, "agrees with this machine's")
    } else if ahead <= REVOCATION_LEEWAY {
        report.warning(subject, &found, fix)
    } else {
        let found = format!("{found}: it drops revocations before they expire");
        report.failed(subject, &found, fix)
    }
}

fn memory(memory: &Result<Vec<Memory>, StepError>, report: &mut Report<'_>) -> io::Result<()> {
    let subject = "shared memory";
    let lru = "set maxmemory-policy to allkeys-lru";
    let nodes = match memory {
        Ok(nodes) => nodes,
        Err(error) => {
            let found = format!("unknown: {error}");
            let fix = "allow INFO, or check that maxmemory-policy is allkeys-lru";
            return report.warning(subject, &found, fix);
        }
    };
    if nodes.iter().any(|node| node.limit == 0) {
        let found = "maxmemory is not set: the server grows until the system ends it";
        return report.warning(subject, found, &format!("set maxmemory, and {lru}"));
    }
    let room = nodes.iter().fold(0_u64, |sum, node| sum.saturating_add(node.limit));
    let room = room.checked_div(SHARED_ENTRY_BYTES).unwrap_or_default();
    let policy = |bad: &str| nodes.iter().any(|node| node.policy == bad);
    let found = if policy("noeviction") {
        "noeviction: when it is full, it rejects leases and entries, and each replica calls Juspay \
         for itself"
    } else if policy("volatile-ttl") {
        "volatile-ttl: when it is full, it evicts the leases of running fetches first, and several \
         replicas call Juspay for the same customer"
    } else if policy("allkeys-random") || policy("volatile-random") {
        "it evicts at random when it is full: also leases of running fetches and recent entries"
    } else {
        let policy = nodes.first().map(|node| node.policy.as_str()).unwrap_or_default();
        return report.ok(subject, &format!("{policy}, room for about {room} customers"));
    };
    report.warning(subject, found, lru)
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
