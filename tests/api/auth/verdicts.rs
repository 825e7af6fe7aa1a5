//! Results over whole corpora of tokens with default settings, compared with the stored ones in
//! `verdicts/*.txt`. After a change of a check, the difference shows which tokens are newly
//! accepted or rejected.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::corpus::Forge;

/// The results for one corpus.
pub struct Verdicts {
    name: &'static str,
    /// Texts that differ between runs, and the names that replace them.
    random: Vec<(String, &'static str)>,
    lines: Vec<String>,
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, accepted) = (self.lines.len(), self.accepted());
        write!(f, "corpus {}: {} of {all} tokens rejected", self.name, all - accepted)
    }
}

impl Verdicts {
    /// The corpus whose stored results are in `verdicts/NAME.txt`.
    pub fn of(name: &'static str) -> Self {
        Self { name, random: Vec::new(), lines: Vec::new() }
    }

    /// Replaces addresses, keys, `iss` and the audience claim in the names of rows, so that a row
    /// has the same name for all kinds of issuers and all audience claims.
    pub fn with_random_parts_of(self, forge: &Forge<'_>) -> Self {
        // With the colon, as other numbers of the corpus may contain the digits.
        let port = |url: &str| format!(":{}", url.rsplit(':').next().expect("a port"));
        let own = port(forge.issuer().issuer_url());
        let kid = forge.header()["kid"].as_str().expect("a text").to_owned();
        let iss = port(&forge.iss());
        let random = vec![
            (format!("{}\"", &iss[..iss.len() - 1]), ":PORT_CUT\""),
            (iss.to_uppercase(), ":PORT"),
            (iss, ":PORT"),
            (format!("{} ", forge.audience_claim), "aud "),
            (forge.untrusted_issuer.jwks()["keys"][0].to_string(), "UNTRUSTED_JWK"),
            (port(forge.untrusted_issuer.issuer_url()), ":UNTRUSTED_PORT"),
            (format!(":{}", forge.trap.port()), ":TRAP_PORT"),
            (own, ":PORT"),
            (kid.to_uppercase(), "UPPERCASE_KID"),
            (kid.to_lowercase(), "LOWERCASE_KID"),
            (kid[1..kid.len() - 1].to_owned(), "MIDDLE_OF_KID"),
            (kid[..1].to_owned() + "MIDDLE_OF_KID", "START_OF_KID"),
            ("START_OF_KID".to_owned() + &kid[kid.len() - 1..], "KID"),
            ("MIDDLE_OF_KID".to_owned() + &kid[kid.len() - 1..], "END_OF_KID"),
        ];
        Self { random, ..self }
    }

    /// How many tokens were accepted.
    pub fn accepted(&self) -> usize {
        self.lines.iter().filter(|line| line.starts_with("accepted\t")).count()
    }

    /// Adds the result for a token.
    pub fn note(&mut self, verdict: &str, name: &str) {
        let replace =
            |name: String, (text, stand_in): &(String, &str)| name.replace(text, stand_in);
        let name = self.random.iter().fold(name.to_owned(), replace);
        let plain = |c: char| {
            let is_plain = c.is_ascii_graphic() || c == ' ';
            if is_plain { c.to_string() } else { c.escape_unicode().to_string() }
        };
        let name: String = name.chars().map(plain).collect();
        self.lines.push(format!("{verdict}\t{name}\n"));
    }

    /// Compares only the names of tokens with the stored ones: another kind of issuer has other
    /// results, but must cover all tokens.
    pub fn compare_names(&self) {
        let (_, kept) = self.stored();
        let name = |line: &str| line.split_once('\t').expect("a verdict").1.trim_end().to_owned();
        let kept: Vec<String> = kept.lines().map(name).collect();
        let found: Vec<String> = self.lines.iter().map(|line| name(line)).collect();
        assert_eq!(found.len(), kept.len(), "tokens of {}", self.name);
        for (found, kept) in found.iter().zip(&kept) {
            assert_eq!(found, kept, "tokens of {}", self.name);
        }
    }

    /// The file of the stored results, and its content.
    fn stored(&self) -> (PathBuf, String) {
        let file = Path::new("tests/api/auth/verdicts").join(self.name).with_extension("txt");
        let kept = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file));
        (file, kept.unwrap_or_default())
    }

    /// Compares the results with the stored ones.
    pub fn compare(self) {
        let (file, kept) = self.stored();
        let found = self.lines.concat();
        if kept == found {
            return;
        }
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.name).with_extension("txt");
        fs::write(&new, found).expect("a writable directory");
        panic!("verdicts differ: diff {} {}", file.display(), new.display());
    }
}
