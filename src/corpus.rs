//! The stored inputs of the fuzz targets, for the tests: `cargo test` checks every input that a fuzz
//! run found worth keeping. `fuzz/pack` writes the archives.

use std::{fs::File, io::Read, path::Path};

/// Calls `check` with each input in `fuzz/corpus/NAME.tar`. Prints its name first, so the output of a
/// failing test ends with the input that failed.
pub(crate) fn replay(name: &str, check: impl Fn(&[u8])) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/{name}.tar"));
    let mut archive = tar::Archive::new(File::open(&path).unwrap());
    let mut count = 0_usize;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        println!("{}: {}", path.display(), entry.path().unwrap().display());
        let mut input = Vec::new();
        entry.read_to_end(&mut input).unwrap();
        check(&input);
        count += 1;
    }
    assert!(count >= 10, "{count} of {name} can't be all");
}
