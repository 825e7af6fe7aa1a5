//! Compares the counts with the stored baseline.

use std::{collections::BTreeMap, fs, process::Command, thread};

use serde::{Deserialize, Serialize};

use super::{subject::Subject, valgrind};

/// Path in the repository.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.toml");

const HEAD: &str = "# What a request takes. Written by `benches/instructions/run --renew`.\n";

/// Instructions may exceed the baseline by this share. Runs of one build differ by a tenth of that.
const TOLERANCE: f64 = 0.03;

/// Allocations may exceed the baseline by this number, because buffers grow now and then.
const ALLOCATIONS_TOLERANCE: f64 = 0.2;

/// The counts by subject.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counts {
    /// Another compiler generates other code.
    rustc: String,
    instructions: BTreeMap<String, f64>,
    allocations: BTreeMap<String, f64>,
}

/// The service is first, because the bare servers repeat its response.
const SUBJECTS: [Subject; 7] = [
    Subject::Hit,
    Subject::Shared,
    Subject::Logged,
    Subject::First,
    Subject::Miss,
    Subject::Bare,
    Subject::Asking,
];

/// The subjects whose allocations are counted, too.
const ALLOCATING: [Subject; 3] = [Subject::Hit, Subject::Logged, Subject::Bare];

impl Counts {
    /// Counts all subjects.
    pub fn take() -> Self {
        let rustc = Command::new("rustc").arg("--version").output().unwrap().stdout;
        // Two at a time: the counts don't depend on the load.
        let by_name = |subjects: &[Subject], count: fn(Subject) -> f64, digits: f64| {
            let counted = subjects.chunks(2).flat_map(|two| {
                thread::scope(|scope| {
                    let running: Vec<_> =
                        two.iter().map(|subject| scope.spawn(|| count(*subject))).collect();
                    running.into_iter().map(|count| count.join().unwrap()).collect::<Vec<_>>()
                })
            });
            let rounded = counted.map(|count| (count * digits).round() / digits);
            let names = subjects.iter().map(|subject| format!("{subject:?}").to_lowercase());
            names.zip(rounded).collect()
        };
        Self {
            rustc: String::from_utf8(rustc).unwrap().trim().to_owned(),
            instructions: by_name(&SUBJECTS, valgrind::instructions, 1.0),
            allocations: by_name(&ALLOCATING, valgrind::allocations, 10.0),
        }
    }

    pub fn read() -> Self {
        toml::from_str(&fs::read_to_string(FILE).unwrap()).unwrap()
    }

    pub fn write(&self) {
        fs::write(FILE, HEAD.to_owned() + &toml::to_string(self).unwrap()).unwrap();
    }

    /// Prints both; returns whether all counts are within the tolerance.
    pub fn print(&self, baseline: &Self) -> bool {
        let mut passed = true;
        for (what, now, before, most) in [
            ("instructions", &self.instructions, &baseline.instructions, None),
            ("allocations", &self.allocations, &baseline.allocations, Some(ALLOCATIONS_TOLERANCE)),
        ] {
            for (name, count) in now {
                let floor = now[if name == "miss" { "asking" } else { "bare" }];
                // A shared tier may cost a hit nothing.
                let before = before[if name == "shared" { "hit" } else { name }];
                let most = before + most.unwrap_or(before * TOLERANCE);
                let verdict = if *count <= most { "ok" } else { "TOO HIGH" };
                passed &= *count <= most;
                println!(
                    "{what} {name:6} {count:8.1}, {:.2} times actix-web, {:+.1} more; \
                     baseline {before:.1}, {:+.2} %: {verdict}",
                    count / floor,
                    count - floor,
                    (count / before - 1.0) * 100.0,
                );
            }
        }
        if self.rustc != baseline.rustc {
            println!(
                "the baseline was made by another compiler: {}, not {}",
                baseline.rustc, self.rustc
            );
        }
        if !passed {
            println!(
                "if the increase is justified, explain it and run benches/instructions/run --renew"
            );
        }
        passed
    }
}
