//! The scripts that the server runs, each with the hash by which `EVALSHA` calls it. A script reads and
//! changes the keys of one customer, or those of the news, as one step.

use std::sync::LazyLock;

/// A Lua script.
pub(super) struct Script {
    /// Its file, without what it has in common with others.
    pub(super) name: &'static str,
    pub(super) code: &'static str,
    hash: LazyLock<String>,
}

impl Script {
    /// The SHA-1 of the code, in hexadecimal.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)+),+ $(,)?) => {
        $(pub(super) static $name: Script = {
            const CODE: &str = concat!($(include_str!(concat!("scripts/", $file))),+);
            Script {
                name: stringify!($name),
                code: CODE,
                hash: LazyLock::new(|| ::redis::Script::new(CODE).get_hash().to_owned()),
            }
        };)+
    };
}

scripts! {
    LOOK_UP = "look_up.lua",
    STORE = "store.lua",
    FAIL = "fail.lua",
    RENEW = "renew.lua",
    PURGE = "purge.lua",
    PURGE_ALL = "purge_all.lua",
    PUBLISH = "append.lua" "publish.lua",
    REVOKE = "append.lua" "revoke.lua",
    REVOCATIONS = "revocations.lua",
    NEWS = "news.lua",
    HAND_OUTS = "hand_outs.lua",
}
