//! Limits and protections of the process: disables core dumps before a secret is read, and raises
//! the limit of open files. Also lists environment variables that this program ignores.

use rustix::{
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
};

/// Open files in addition to public connections: admin connections, calls to Juspay and issuers,
/// secret files, and the runtime.
const OTHER_FILES: u64 = 1024;

/// Disables core dumps and memory access by other processes of the same user.
///
/// # Errors
/// If the kernel refuses.
pub fn protect_memory() -> Result<(), Errno> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Raises the limit of open files for this many connections, up to the hard limit.
///
/// # Errors
/// With the limit in force, if it is too low.
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

/// The variables that are set for a proxy. The service ignores them.
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
