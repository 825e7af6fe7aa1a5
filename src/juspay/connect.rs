//! How a connection to Juspay is made: every address of the host gets a fair try.
//!
//! A black-holed IPv6 address must not eat every attempt, so the families take turns, each address
//! gets a bounded time, and the family that worked last goes first.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use tokio::net::{TcpStream, lookup_host};

use crate::settings::IpFamily;

/// Longest time for one of several addresses: connections within a continent take a tenth.
const ONE_OF_SEVERAL: Duration = Duration::from_millis(300);

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The family that the last connection was made with.
pub(super) type LastFamily = Rc<Cell<Option<Family>>>;

/// A connector for awc.
pub(super) fn connector(
    allowed: IpFamily,
    last: LastFamily,
) -> impl Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError> + Clone
{
    fn_service(move |info: ConnectInfo<Uri>| {
        let last = Rc::clone(&last);
        async move {
            let host = info.hostname().trim_start_matches('[').trim_end_matches(']').to_owned();
            let found = lookup_host((host, info.port())).await.map_err(resolving_failed)?;
            let addresses = in_turn(found.collect(), allowed, last.get());
            let stream = first_to_answer(&addresses, &last).await?;
            Ok(Connection::new(info.request().clone(), stream))
        }
    })
}

fn resolving_failed(error: io::Error) -> ConnectError {
    ConnectError::Resolver(Box::new(error))
}

async fn first_to_answer(
    addresses: &[SocketAddr],
    last: &LastFamily,
) -> Result<TcpStream, ConnectError> {
    let mut failure = ConnectError::NoRecords;
    let several = addresses.len() > 1;
    for address in addresses {
        // The connector's own timeout bounds all of them together, and a single one.
        let connected = if several {
            tokio::time::timeout(ONE_OF_SEVERAL, TcpStream::connect(address))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            TcpStream::connect(address).await
        };
        match connected {
            Ok(stream) => {
                last.set(Some(address.ip().into()));
                return Ok(stream);
            }
            Err(error) => failure = ConnectError::Io(error),
        }
    }
    Err(failure)
}

/// The addresses to try: of the allowed families, by turns, the preferred family first.
fn in_turn(
    found: Vec<SocketAddr>,
    allowed: IpFamily,
    preferred: Option<Family>,
) -> Vec<SocketAddr> {
    let family = |address: &SocketAddr| Family::from(address.ip());
    let first = preferred.or_else(|| found.first().map(family));
    let (ours, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .filter(|address| match allowed {
            IpFamily::Any => true,
            IpFamily::V4 => family(address) == Family::V4,
            IpFamily::V6 => family(address) == Family::V6,
        })
        .partition(|address| Some(family(address)) == first);
    let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(ours.next());
        turns.extend(others.next());
        if turns.len() == before {
            return turns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const FOUND: [&str; 5] = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"];

    #[test]
    fn families_take_turns_and_the_one_that_worked_goes_first() {
        let turns = |preferred| in_turn(addresses(&FOUND), IpFamily::Any, preferred);
        let v6_first = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"];
        assert_eq!(turns(None), addresses(&v6_first));
        assert_eq!(turns(Some(Family::V6)), addresses(&v6_first));
        let v4_first = ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1", "[::2]:1", "[::3]:1"];
        assert_eq!(turns(Some(Family::V4)), addresses(&v4_first));
    }

    #[test]
    fn only_allowed_families_are_tried() {
        let only = |allowed| in_turn(addresses(&FOUND), allowed, None);
        assert_eq!(only(IpFamily::V4), addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
        assert_eq!(only(IpFamily::V6), addresses(&["[::1]:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(in_turn(addresses(&["10.0.0.1:1"]), IpFamily::V6, None), []);
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_gives_way_to_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let bad = SocketAddr::new("127.0.0.2".parse().unwrap(), good.port());
        let last = LastFamily::default();
        assert!(first_to_answer(&[bad, good], &last).await.is_ok());
        assert_eq!(last.get(), Some(Family::V4));
        assert!(matches!(first_to_answer(&[bad], &last).await, Err(ConnectError::Io(_))));
        assert!(matches!(first_to_answer(&[], &last).await, Err(ConnectError::NoRecords)));
    }
}
