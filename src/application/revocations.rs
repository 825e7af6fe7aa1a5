//! Follows `auth.revocations_file`, as secrets are followed.

use std::{sync::Arc, time::Duration};

use crate::{auth::Authenticator, cache::CustomerCache, clock::Clock};

/// Looks at the file every `poll`, for as long as it is polled itself, and forgets whose tokens it
/// ends. Without a file there is nothing to follow.
pub(super) async fn follow(
    authenticator: Arc<Authenticator>,
    cache: CustomerCache,
    poll: Duration,
    clock: Arc<dyn Clock>,
) {
    loop {
        clock.sleep_until(clock.monotonic().plus(poll)).await;
        let Some(customers) = authenticator.reload_revocations() else { return };
        for customer in customers {
            cache.purge(&customer);
        }
    }
}
