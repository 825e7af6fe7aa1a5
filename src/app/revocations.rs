//! Follows `auth.revocations_file`, as secrets are followed.

use std::sync::Arc;

use super::polling::Polling;
use crate::{auth::Authenticator, cache::CustomerCache};

/// Looks at the file whenever it is due, for as long as it is polled itself, and forgets whose tokens it
/// ends. Without a file there is nothing to follow.
pub(super) async fn follow(
    authenticator: Arc<Authenticator>,
    cache: CustomerCache,
    polling: Polling,
) {
    loop {
        polling.due().await;
        let Some(customers) = authenticator.reload_revocations().await else { return };
        for customer in customers {
            cache.purge(&customer);
        }
    }
}
