//! What the process asks of the kernel before it holds a secret: that its memory is written nowhere,
//! and that it may open as many files as it has connections. And what its environment says that it
//! doesn't follow.

use rustix::{
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
};

/// Open files besides the public listener's connections: those of the admin listener, to Juspay and
/// to issuers, secrets, the runtime's own.
const OTHER_FILES: u64 = 1024;

/// No core dumps, and no other process of this user may read this one's memory.
///
/// # Errors
/// When the kernel refuses.
pub fn protect_memory() -> Result<(), Errno> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Asks for enough open files for so many connections: as many as the hard limit lets us have.
///
/// # Errors
/// With the number that there may be, when it isn't enough.
pub fn raise_open_files_limit(connections: usize) -> Result<(), u64> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if is_enough(current) {
        return Ok(());
    }
    let target = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum });
    let in_force = if raised.is_ok() { Some(target) } else { current };
    if is_enough(in_force) { Ok(()) } else { Err(in_force.unwrap_or(target)) }
}

/// The variables by which a proxy is set. Calls to Juspay and to issuers go there directly, whatever
/// the environment says.
pub fn proxy_variables() -> impl Iterator<Item = &'static str> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    names.into_iter().filter(|name| std::env::var_os(name).is_some())
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn core_dumps_and_ptrace_are_disabled() {
        protect_memory().unwrap();
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }

    #[test]
    fn exceeding_the_hard_limit_is_an_error() {
        assert_eq!(raise_open_files_limit(1), Ok(()));
        if let Some(maximum) = getrlimit(Resource::Nofile).maximum {
            let too_many = usize::try_from(maximum).unwrap();
            assert_eq!(raise_open_files_limit(too_many), Err(maximum));
        }
    }
}
