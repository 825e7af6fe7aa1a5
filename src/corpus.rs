//! The kept corpora of the fuzz targets, for the tests: what a fuzz run has found worth keeping
//! must hold in every `cargo test`, too.

use std::{fs, path::Path};

/// Gives `check` each file of `fuzz/corpus/NAME`. The name of the one that fails is shown.
pub(crate) fn replay(name: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(files.len() >= 10, "{} of {name} can't be all", files.len());
    for file in files {
        println!("{}", file.display());
        check(&fs::read(&file).unwrap());
    }
}
