//! Defines which addresses and hosts are loopback, for settings, key fetching, introspection,
//! listeners, the admin `Host` check and `doctor`.
//!
//! A host name is loopback only if it is `localhost`. DNS is not consulted, because its responses
//! can change.

use std::net::IpAddr;

/// Whether `address` is in 127.0.0.0/8 or is `::1`, including IPv4-mapped addresses
/// (`::ffff:127.0.0.1`, RFC 4291 §2.5.5.2).
#[must_use]
pub fn is_loopback_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether the host of a URL or of a `Host` header, without its port, is loopback: `localhost` in
/// any case, or a loopback address, with IPv6 in brackets (RFC 3986 §3.2.2).
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = match bracketed {
        Some(address) => address.parse().map(IpAddr::V6),
        None => host.parse().map(IpAddr::V4),
    };
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(is_loopback_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_loopback_is_recognized() {
        for host in [
            "localhost",
            "Localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.1.2.3",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::FFFF:7f00:1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn other_hosts_are_not_loopback() {
        for host in [
            "",
            "example.com",
            "localhost.example",
            "localhost.",
            "127.0.0.1.example",
            "127.1",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::2]",
            "[::ffff:10.0.0.1]",
            "[127.0.0.1]",
            "[localhost]",
            "::1",
            "[[::1]]",
            "127.0.0.1:80",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
