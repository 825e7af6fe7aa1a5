//! Which problems each route can respond with. The metrics create all their labels from this list.

use std::time::Duration;

use super::Problem;
use crate::customer::NewCustomerField;

/// Where a problem can occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Location {
    /// All paths of the app: `/me/…`.
    App,
    /// Those of them that respond with the customer: all but `/me/prepare`, which does not wait for it.
    Customer,
    /// Any path of the public listener.
    Public,
    /// Paths of the public listener without a route.
    Unmatched,
    /// The admin listener.
    Admin,
}

/// Defines the pattern, an example and the location of each problem. Both functions are generated
/// from this list, so a problem without an example doesn't compile.
macro_rules! locations {
    ($($pattern:pat, $example:expr => $location:ident;)+) => {
        impl Problem {
            fn location(&self) -> Location {
                match self {
                    $($pattern => Location::$location,)+
                    Self::RetryLater(problem, _) => problem.location(),
                }
            }

            fn examples() -> Vec<Self> {
                vec![$($example),+]
            }
        }
    };
}

const ZERO: Duration = Duration::ZERO;

locations! {
    Self::InvalidRequest(_), Self::InvalidRequest("") => App;
    Self::Malformed(_), Self::Malformed("") => Public;
    Self::MissingToken, Self::MissingToken => App;
    Self::MalformedBearer(_), Self::MalformedBearer("") => App;
    Self::TokenTooLarge, Self::TokenTooLarge => App;
    Self::InvalidToken, Self::InvalidToken => App;
    Self::InvalidDpopProof, Self::InvalidDpopProof => App;
    Self::UseDpopNonce(_), Self::UseDpopNonce("".into()) => App;
    Self::ExpiredToken, Self::ExpiredToken => App;
    Self::InsufficientScope(_), Self::InsufficientScope("".into()) => App;
    Self::NoCustomer, Self::NoCustomer => App;
    Self::CustomerNotFound(_), Self::CustomerNotFound(ZERO) => Customer;
    Self::CustomerNotCreatable(_), Self::CustomerNotCreatable(NewCustomerField::MobileNumber) => Customer;
    Self::NotFound, Self::NotFound => Unmatched;
    Self::MethodNotAllowed(_), Self::MethodNotAllowed("") => App;
    Self::BodyNotAllowed, Self::BodyNotAllowed => App;
    Self::InternalError, Self::InternalError => Public;
    Self::UpstreamRejectedCredentials, Self::UpstreamRejectedCredentials => Customer;
    Self::UpstreamRejectedOrigin, Self::UpstreamRejectedOrigin => Customer;
    Self::UpstreamInvalidResponse, Self::UpstreamInvalidResponse => Customer;
    Self::UpstreamError(_), Self::UpstreamError(ZERO) => Customer;
    Self::UpstreamUnavailable(_), Self::UpstreamUnavailable(ZERO) => Customer;
    Self::Overloaded, Self::Overloaded => App;
    Self::RateLimited(_), Self::RateLimited(ZERO) => App;
    Self::NotCached, Self::NotCached => Customer;
    Self::UpstreamTimeout, Self::UpstreamTimeout => Customer;
    Self::KeysUnavailable(_), Self::KeysUnavailable(ZERO) => App;
    Self::AdminDisabled, Self::AdminDisabled => Admin;
    Self::AdminForbidden, Self::AdminForbidden => Admin;
    Self::RevocationsFull, Self::RevocationsFull => Admin;
}

impl Problem {
    /// One example of each problem that a path with the customer can respond with.
    pub fn on_customer_routes() -> impl Iterator<Item = Self> {
        use Location::{App, Customer, Public};
        Self::examples().into_iter().filter(|it| matches!(it.location(), App | Customer | Public))
    }

    /// One example of each problem that `/me/prepare` can respond with.
    pub fn on_prepare() -> impl Iterator<Item = Self> {
        Self::examples()
            .into_iter()
            .filter(|it| matches!(it.location(), Location::App | Location::Public))
    }

    /// One example of each problem that other paths of the public listener can respond with.
    pub fn on_other_routes() -> impl Iterator<Item = Self> {
        Self::examples()
            .into_iter()
            .filter(|it| matches!(it.location(), Location::Unmatched | Location::Public))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, mem::discriminant};

    use super::*;

    #[test]
    fn each_problem_has_one_example() {
        let examples = Problem::examples();
        let kinds: BTreeSet<_> =
            examples.iter().map(|it| format!("{:?}", discriminant(it))).collect();
        assert_eq!(kinds.len(), examples.len());
    }

    #[test]
    fn each_route_has_its_problems() {
        let codes = |problems: Vec<Problem>| -> BTreeSet<_> {
            problems.iter().map(|problem| format!("{} {problem}", problem.status())).collect()
        };
        let other = codes(Problem::on_other_routes().collect());
        assert_eq!(
            other.iter().map(String::as_str).collect::<Vec<_>>(),
            ["400 invalid_request", "404 not_found", "500 internal_error"]
        );
        let customer = codes(Problem::on_customer_routes().collect());
        for code in [
            "400 invalid_request",
            "400 token_too_large",
            "401 use_dpop_nonce",
            "500 internal_error",
        ] {
            assert!(customer.contains(code), "{code}: {customer:?}");
        }
        for code in ["404 not_found", "403 admin_disabled"] {
            assert!(!customer.contains(code), "{code}: {customer:?}");
        }
        let prepare = codes(Problem::on_prepare().collect());
        assert!(
            prepare.is_subset(&customer) && prepare.contains("429 rate_limited"),
            "{prepare:?}"
        );
        for code in ["404 customer_not_found", "502 upstream_error", "504 not_cached"] {
            assert!(customer.contains(code) && !prepare.contains(code), "{code}: {prepare:?}");
        }
    }
}
