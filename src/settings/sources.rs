//! Where settings come from: the built-in defaults, files, then the environment, each over the one
//! before it.
//!
//! Every source is looked at before anything is told, so that two broken files are two faults.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::{
    Listen, Settings, contradictions, document,
    effective::Effective,
    environment,
    fault::{Fault, Faults, Wrong},
    reader::{BUILT_IN, Reader},
    server, unknown, value,
};
use crate::regular_file;

/// Every key, with its default and what it means.
const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Largest settings file, in bytes: some twenty times the documented defaults.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What settings are made of.
#[derive(Clone, Default)]
pub struct Sources {
    documents: Vec<Document>,
    environment: Vec<(String, String)>,
}

#[derive(Clone)]
enum Document {
    File(PathBuf),
    Text { name: String, text: String },
}

/// Settings that are good, and what is to be said about them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The same to be shown, secrets masked.
    pub effective: Effective,
    /// What looks like a mistake and is none.
    pub warnings: Vec<Fault>,
}

impl Sources {
    /// These files in order, then this process's environment.
    pub fn of_process(files: impl IntoIterator<Item = PathBuf>) -> Self {
        // What isn't Unicode gets replacement characters: no key, address or name may hold those,
        // and no file is found by them, so it is a fault where it matters.
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        let none = Self { environment: variables.collect(), ..Self::default() };
        files.into_iter().fold(none, Self::file)
    }

    /// A settings file over what is there.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.documents.push(Document::File(path.into()));
        self
    }

    /// The text of a settings file over what is there; `name` is what faults call it.
    #[must_use]
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.documents.push(Document::Text { name: name.into(), text: text.into() });
        self
    }

    /// An environment variable. Variables go over all files.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Reads, merges and checks them all. Files that settings name are read too, to be sure that
    /// they can be.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(mut self) -> Result<Loaded, Faults> {
        let mut faults = Vec::new();
        // The order of variables is the system's whim.
        self.environment.sort();
        let layers = self.layers(&mut faults);
        let whole = faults.is_empty();
        let merged = merge(layers, &mut faults);
        let mut reader = Reader::new(&merged, whole).with_empty(self.empty_variables());
        let settings = Settings::read(&mut reader);
        contradictions::check(&mut reader);
        let mut warnings = self.warnings();
        warnings.extend(reader.take_warnings());
        let (found, effective) = reader.finish();
        faults.extend(found);
        match settings {
            Some(settings) if faults.is_empty() => Ok(Loaded { settings, effective, warnings }),
            _ => Err(Faults { faults, warnings }),
        }
    }

    /// Where the admin listener listens, by these sources. Reads nothing else of them: no secret
    /// has to be there, and other settings may have faults.
    ///
    /// # Errors
    /// With what is wrong with the sources or with that setting.
    pub fn admin_listen(mut self) -> Result<Vec<Listen>, Faults> {
        let mut faults = Vec::new();
        self.environment.sort();
        let layers = self.layers(&mut faults);
        let merged = merge(layers, &mut Vec::new());
        let mut reader = Reader::new(&merged, faults.is_empty());
        let listen = server::admin_listen(&mut reader);
        faults.extend(reader.faults());
        match listen {
            Some(listen) if faults.is_empty() => Ok(listen),
            _ => Err(Faults { faults, warnings: self.warnings() }),
        }
    }

    fn warnings(&self) -> Vec<Fault> {
        let variables = self.environment.iter();
        variables.filter_map(|(name, value)| environment::warning(name, value)).collect()
    }

    /// The keys whose variable is empty, with that variable.
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
            .filter_map(|document| document.read().map_err(|wrong| faults.extend(wrong)).ok())
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
                let fault = |wrong: Wrong| vec![wrong.of(&*name, None)];
                let content =
                    regular_file::read_blocking(path, MAX_FILE_BYTES).map_err(|error| {
                        let reason = format!("the settings file can't be read: {error}");
                        fault(Wrong::new(reason, error.fix()))
                    })?;
                let text = str::from_utf8(&content)
                    .map_err(|_| fault(Wrong::new("is not UTF-8 text", "save it as UTF-8")))?;
                document::parse(&name, text)
            }
        }
    }
}

/// Merges layers, later ones over earlier ones. What is no table where the first layer has one is
/// a fault and left out: it would sweep away all settings below it.
fn merge(layers: Vec<Map<String, Value>>, faults: &mut Vec<Fault>) -> Map<String, Value> {
    let mut layers = layers.into_iter();
    let Some(first) = layers.next() else { return Map::new() };
    let mut builder = Config::builder().add_source(Layer(first.clone()));
    for mut layer in layers {
        keep_tables(&mut layer, &first, "", faults);
        builder = builder.add_source(Layer(layer));
    }
    // Nothing in it can fail: every layer is read already.
    let root = builder.build().and_then(|config| config.cache.into_table());
    let settings = root.and_then(|mut root| root.remove(ROOT).unwrap_or_default().into_table());
    settings.unwrap_or_default()
}

fn keep_tables(
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
            keep_tables(table, shape, &path, faults);
            return true;
        }
        let wrong =
            value::mismatch(value, "a table", &format!("write [{path}] and its settings below"));
        faults.push(wrong.of(path, value::origin(value)));
        false
    });
}

/// The key that all layers stand below. The library takes keys at the root for paths, so that
/// `"a[9999999999]"` in a file would make a list of that length.
const ROOT: &str = "settings";

/// One source's settings.
#[derive(Clone)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), Value::new(None, ValueKind::Table(self.0.clone())))]))
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer(…)")
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Text { name, .. } => name.fmt(f),
        }
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("documents", &self.documents)
            .field("environment", &names)
            .finish()
    }
}
