//! Loads settings from their sources: built-in defaults, files, then environment variables. Each
//! source overrides those before it.
//!
//! All sources are read before faults are reported, so two broken files are two faults.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use config::{Config, Map, Value, ValueKind};

use super::{
    Listen, Settings, conflicts, document,
    effective::Effective,
    environment,
    fault::{Fault, Faults, Violation},
    reader::{BUILT_IN, Reader},
    server, unknown, value,
};
use crate::regular_file;

/// All keys with their defaults and documentation.
const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Largest settings file, in bytes: about twenty times the documented defaults.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The sources of settings, in order.
#[derive(Clone, Default)]
pub struct Sources {
    documents: Vec<Document>,
    environment: Vec<(String, String)>,
    mounts: Option<Vec<PathBuf>>,
}

#[derive(Clone)]
enum Document {
    File(PathBuf),
    Text { name: String, text: String },
}

/// Valid settings, with their warnings.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The settings for display, with secrets masked.
    pub effective: Effective,
    /// Likely mistakes that don't prevent a start.
    pub warnings: Vec<Fault>,
}

impl Sources {
    /// The files in this order, then the environment of this process.
    pub fn of_process(files: impl IntoIterator<Item = PathBuf>) -> Self {
        // Text that isn't Unicode gets replacement characters. No key, address, name or path is
        // valid with them, so the affected setting is reported as a fault.
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let none = Self { environment: variables.collect(), ..Self::default() };
        files.into_iter().fold(none, Self::file)
    }

    /// Adds a settings file, which overrides the sources so far.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.documents.push(Document::File(path.into()));
        self
    }

    /// Adds the text of a settings file; faults call it `name`.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.documents.push(Document::Text { name: name.into(), text: text.into() });
        self
    }

    /// Adds an environment variable. Variables override all files.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The settings of a container elsewhere, with volumes at these paths: the files that settings
    /// name are not read, but must be in one of its volumes.
    #[must_use]
    pub fn mounted(self, mounts: Vec<PathBuf>) -> Self {
        Self { mounts: Some(mounts), ..self }
    }

    /// Reads, merges and validates all sources, including the files that settings name.
    ///
    /// # Errors
    /// With all faults.
    pub fn load(mut self) -> Result<Loaded, Faults> {
        let mut faults = Vec::new();
        // The order of environment variables is arbitrary; sorting makes faults reproducible.
        self.environment.sort();
        let layers = self.layers(&mut faults);
        let sources_complete = faults.is_empty();
        let merged = merge(layers, &mut faults);
        let mut reader = Reader::new(&merged, sources_complete)
            .with_empty(self.empty_variables())
            .with_mounts(self.mounts.as_deref());
        let settings = Settings::read(&mut reader);
        conflicts::check(&settings, &mut reader);
        let mut warnings = self.warnings();
        warnings.extend(reader.take_warnings());
        let is_complete = reader.placeholders() == 0;
        let (found, effective) = reader.finish();
        faults.extend(found);
        if is_complete && faults.is_empty() {
            Ok(Loaded { settings, effective, warnings })
        } else {
            Err(Faults { faults, warnings })
        }
    }

    /// The addresses of the admin listener. Reads no other setting: secrets may be missing, and
    /// other settings may have faults.
    ///
    /// # Errors
    /// If a source can't be read or this setting is invalid.
    pub fn admin_listen(mut self) -> Result<Vec<Listen>, Faults> {
        let mut faults = Vec::new();
        self.environment.sort();
        let layers = self.layers(&mut faults);
        let merged = merge(layers, &mut Vec::new());
        let mut reader = Reader::new(&merged, faults.is_empty());
        let listen = server::admin_listen(&mut reader);
        let is_complete = reader.placeholders() == 0;
        faults.extend(reader.faults());
        if is_complete && faults.is_empty() {
            Ok(listen)
        } else {
            Err(Faults { faults, warnings: self.warnings() })
        }
    }

    fn warnings(&self) -> Vec<Fault> {
        let variables = self.environment.iter();
        variables.filter_map(|(name, value)| environment::warning(name, value)).collect()
    }

    /// The keys whose variable is empty, with the variable's name.
    fn empty_variables(&self) -> BTreeMap<String, String> {
        let key = |(name, value): &(String, String)| {
            environment::empty(name, value).map(|key| (key, name.clone()))
        };
        self.environment.iter().filter_map(key).collect()
    }

    fn layers(&self, faults: &mut Vec<Fault>) -> Vec<Map<String, Value>> {
        let defaults = Document::Text { name: BUILT_IN.to_owned(), text: DEFAULTS.to_owned() };
        let documents = std::iter::once(&defaults).chain(&self.documents);
        let mut layers: Vec<_> = documents
            .filter_map(|document| {
                document.read().map_err(|violation| faults.extend(violation)).ok()
            })
            .collect();
        let variables = self.environment.iter();
        layers.extend(variables.filter_map(|(name, value)| environment::layer(name, value)));
        layers
    }
}

impl Document {
    fn read(&self) -> Result<Map<String, Value>, Vec<Fault>> {
        match self {
            Self::Text { name, text } => document::parse(name, text),
            Self::File(path) => {
                let name = path.display().to_string();
                let fault = |violation: Violation| vec![violation.of(&*name, None)];
                let content =
                    regular_file::read_blocking(path, MAX_FILE_BYTES).map_err(|error| {
                        let reason = format!("the settings file can't be read: {error}");
                        fault(Violation::new(reason, error.fix()))
                    })?;
                let text = str::from_utf8(&content)
                    .map_err(|_| fault(Violation::new("is not UTF-8 text", "save it as UTF-8")))?;
                document::parse(&name, text)
            }
        }
    }
}

/// Merges layers, later ones over earlier ones. A value in place of one of the first layer's tables
/// is a fault and removed, because it would replace all settings below it.
fn merge(layers: Vec<Map<String, Value>>, faults: &mut Vec<Fault>) -> Map<String, Value> {
    let mut layers = layers.into_iter();
    let Some(first) = layers.next() else { return Map::new() };
    let mut builder = Config::builder().add_source(as_source(first.clone()));
    for mut layer in layers {
        remove_replaced_tables(&mut layer, &first, "", faults);
        builder = builder.add_source(as_source(layer));
    }
    // Building can't fail: every layer is already parsed.
    let root = builder.build().and_then(|config| config.cache.into_table());
    let settings = root.and_then(|mut root| root.remove(ROOT).unwrap_or_default().into_table());
    settings.unwrap_or_default()
}

fn remove_replaced_tables(
    layer: &mut Map<String, Value>,
    shape: &Map<String, Value>,
    at: &str,
    faults: &mut Vec<Fault>,
) {
    layer.retain(|name, value| {
        let Some(Value { kind: ValueKind::Table(shape), .. }) = shape.get(name) else {
            return true;
        };
        let path = unknown::path(at, name);
        if let ValueKind::Table(table) = &mut value.kind {
            remove_replaced_tables(table, shape, &path, faults);
            return true;
        }
        let violation =
            value::mismatch(value, "a table", &format!("write [{path}] and its settings below"));
        faults.push(violation.of(path, value::origin(value)));
        false
    });
}

/// The key above all layers. `config` parses keys at the root as paths, so `"a[9999999999]"` in a
/// file would create a list of that length.
const ROOT: &str = "settings";

/// The settings of one source, as `config` merges them.
fn as_source(layer: Map<String, Value>) -> Config {
    let root = Map::from([(ROOT.to_owned(), Value::new(None, ValueKind::Table(layer)))]);
    let mut source = Config::default();
    source.cache = Value::new(None, ValueKind::Table(root));
    source
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Text { name, .. } => name.fmt(f),
        }
    }
}

/// Omits values, which may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("documents", &self.documents)
            .field("environment", &names)
            .field("mounts", &self.mounts)
            .finish()
    }
}
