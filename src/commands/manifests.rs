//! Finds the settings in rendered Kubernetes manifests, for `check-config --manifests`.
//!
//! The settings of a container named `juspay-bff` are its `--config` files from a `ConfigMap`, and its
//! variables. Secrets are not in the manifests, so the files that settings name are not read.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use serde_json::Value;

use super::{CommandError, failed};
use crate::settings::{Fault, Faults, Loaded, Sources};

/// Values of `deploy/kubernetes/base/site.env` and `deploy/helm/example.yaml` that every
/// installation replaces.
const PLACEHOLDERS: [&str; 3] = ["example.com", "my_merchant", "my-app"];

/// Stands for the value of a variable from a Secret.
const UNKNOWN: &str = "value-from-a-secret";

const API_KEY_VARIABLE: &str = "JUSPAY_BFF__JUSPAY__API_KEY";

/// How settings name a variable as the origin of a value.
const VARIABLE: &str = "environment variable ";

/// A container named `juspay-bff`.
struct Container<'m> {
    /// All objects in the manifests.
    objects: &'m [Value],
    /// The object that the container is in, such as `Deployment juspay-bff`.
    object: String,
    pod: &'m Value,
    spec: &'m Value,
    faults: Vec<Fault>,
}

/// Loads the settings of each container in a file, or in standard input for `-`. They come with the
/// object that the container is in. Equal settings are returned once.
pub(super) fn load(path: &Path) -> Result<Vec<(String, Loaded)>, CommandError> {
    let objects = read(path)?;
    let containers: Vec<_> = objects.iter().filter_map(|it| Container::of(it, &objects)).collect();
    if containers.is_empty() {
        let why =
            "no container is named juspay-bff; pass all manifests that helm or kustomize prints";
        return Err(failed(format!("{}: {why}", name_of(path))));
    }
    let (mut loaded, mut faults, mut warnings) = (Vec::new(), Vec::<Fault>::new(), Vec::new());
    for container in containers {
        let object = container.object.clone();
        match container.load() {
            Ok(found) => loaded.push((object, found)),
            Err(found) => {
                // Containers of one installation have most faults in common.
                let known = |fault: &&Fault| {
                    !faults.iter().any(|it| (&it.key, &it.reason) == (&fault.key, &fault.reason))
                };
                let new: Vec<_> = found.iter().filter(known).cloned().collect();
                faults.extend(new);
                warnings.extend_from_slice(found.warnings());
            }
        }
    }
    if !faults.is_empty() {
        return Err(CommandError::Settings(Faults::new(faults, warnings)));
    }
    let mut seen = HashSet::new();
    loaded.retain(|(_, loaded)| seen.insert(loaded.effective.to_string()));
    Ok(loaded)
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<Vec<Value>, CommandError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().read_to_string(&mut text)
    } else {
        File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    let name = name_of(path);
    read.map_err(|error| failed(format!("failed to read {name}: {error}")))?;
    // The error may quote a Secret, so only its line is shown.
    serde_saphyr::from_multiple(&text).map_err(|error| {
        let line = error.location().map(|at| format!(", line {}", at.line())).unwrap_or_default();
        failed(format!("{name}{line}: not valid YAML; pass the output of helm or kustomize"))
    })
}

impl<'m> Container<'m> {
    /// The container in the pods of `object`, if there is one.
    fn of(object: &'m Value, objects: &'m [Value]) -> Option<Self> {
        let paths = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"];
        let mut pods = paths.iter().filter_map(|path| object.pointer(path));
        let pod = pods.find(|pod| pod.get("containers").is_some())?;
        let spec = containers(pod).find(|it| text(it, "/name") == "juspay-bff")?;
        let object = format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"));
        Some(Self { objects, object, pod, spec, faults: Vec::new() })
    }

    fn load(mut self) -> Result<Loaded, Faults> {
        for container in containers(self.pod).filter(|it| is_placeholder(text(it, "/image"))) {
            let place = format!("{}, container {}", self.object, text(container, "/name"));
            self.faults.push(placeholder("image", place));
        }
        let mounts = items(self.spec, "/volumeMounts").map(|it| text(it, "/mountPath").into());
        let mut sources = Sources::default().mounted(mounts.collect());
        for file in self.settings_files() {
            if let Some((map, text)) = self.find_file(file) {
                sources = sources.text(format!("{file} in ConfigMap {map}"), text);
            } else {
                let fix =
                    "pass all manifests, or correct volumes, volumeMounts or the ConfigMap's keys";
                self.fault(file, "no ConfigMap in the manifests has this settings file", fix);
            }
        }
        let variables = self.variables();
        for (name, (value, place)) in &variables {
            if name.starts_with("JUSPAY_BFF__") && is_placeholder(value) {
                self.faults.push(placeholder(name, place.clone()));
            }
            sources = sources.variable(name, *value);
        }
        let mut loaded = sources.clone().load();
        // The names of a whole Secret's variables are unknown: one may be the missing API key.
        if items(self.spec, "/envFrom").any(|it| it.get("secretRef").is_some())
            && has_key_fault(&loaded)
        {
            let with_key = sources.variable(API_KEY_VARIABLE, UNKNOWN).load();
            loaded = if has_key_fault(&with_key) { loaded } else { with_key };
        }
        let warnings = loaded.as_ref().err().map_or(&[][..], Faults::warnings).to_vec();
        for fault in loaded.as_ref().err().into_iter().flatten().cloned() {
            let origin = fault.origin.map(|origin| in_manifest(&origin, &variables));
            let origin = origin.or_else(|| Some(self.object.clone()));
            self.faults.push(Fault { origin, ..fault });
        }
        loaded.ok().filter(|_| self.faults.is_empty()).ok_or(Faults::new(self.faults, warnings))
    }

    /// The settings files in the container's arguments.
    fn settings_files(&self) -> Vec<&'m str> {
        let arguments = ["/command", "/args"].into_iter().flat_map(|it| items(self.spec, it));
        let arguments: Vec<_> = arguments.filter_map(Value::as_str).collect();
        let separate = arguments.windows(2).filter_map(|pair| match pair {
            ["--config", file] => Some(*file),
            _ => None,
        });
        separate.chain(arguments.iter().filter_map(|it| it.strip_prefix("--config="))).collect()
    }

    /// The text of a settings file, and the name of the `ConfigMap` that has it.
    fn find_file(&self, file: &str) -> Option<(&'m str, &'m str)> {
        items(self.spec, "/volumeMounts").find_map(|mount| {
            let rest = Path::new(file).strip_prefix(text(mount, "/mountPath")).ok()?;
            let sub_path = mount.get("subPath").and_then(Value::as_str);
            let path = sub_path.or_else(|| rest.to_str())?;
            let mut volumes = items(self.pod, "/volumes");
            let volume = volumes.find(|it| text(it, "/name") == text(mount, "/name"))?;
            let mut sources = items(volume, "/projected/sources").chain([volume]);
            sources.find_map(|source| self.find_key(source.get("configMap")?, path))
        })
    }

    /// The text of the file at `path` in a volume of a `ConfigMap`, and the name of the `ConfigMap`.
    fn find_key(&self, volume: &'m Value, path: &str) -> Option<(&'m str, &'m str)> {
        let key = if volume.get("items").is_some() {
            text(items(volume, "/items").find(|it| text(it, "/path") == path)?, "/key")
        } else {
            path
        };
        let map = text(volume, "/name");
        Some((map, self.config_map(map)?.get(key)?.as_str()?))
    }

    /// The container's variables: value and place by name. Later ones replace earlier ones.
    fn variables(&mut self) -> BTreeMap<String, (&'m str, String)> {
        let mut variables = BTreeMap::new();
        for source in items(self.spec, "/envFrom") {
            let Some(reference) = source.get("configMapRef") else { continue };
            let map = text(reference, "/name");
            let Some(data) = self.config_map(map).and_then(Value::as_object) else {
                self.missing(reference);
                continue;
            };
            for (name, value) in data {
                let name = format!("{}{name}", text(source, "/prefix"));
                let value = value.as_str().unwrap_or_default();
                variables.insert(name, (value, format!("ConfigMap {map}")));
            }
        }
        for variable in items(self.spec, "/env") {
            let name = text(variable, "/name").to_owned();
            if let Some(value) = variable.get("value").and_then(Value::as_str) {
                variables.insert(name, (value, self.object.clone()));
            } else if let Some(reference) = variable.pointer("/valueFrom/configMapKeyRef") {
                let map = text(reference, "/name");
                let value = self.config_map(map).and_then(|data| data.get(text(reference, "/key")));
                if let Some(value) = value.and_then(Value::as_str) {
                    variables.insert(name, (value, format!("ConfigMap {map}")));
                } else {
                    self.missing(reference);
                }
            } else if variable.pointer("/valueFrom/secretKeyRef").is_some() {
                variables.insert(name, (UNKNOWN, self.object.clone()));
            }
        }
        variables
    }

    fn config_map(&self, name: &str) -> Option<&'m Value> {
        let mut maps = self.objects.iter().filter(|it| text(it, "/kind") == "ConfigMap");
        maps.find(|it| text(it, "/metadata/name") == name)?.get("data")
    }

    fn missing(&mut self, reference: &Value) {
        if reference.get("optional") != Some(&Value::Bool(true)) {
            let key = format!("ConfigMap {}", text(reference, "/name"));
            let reason = "the container refers to it, but it or its key is not in the manifests";
            self.fault(&key, reason, "pass all manifests, or correct env and envFrom");
        }
    }

    fn fault(&mut self, key: &str, reason: &str, fix: &str) {
        let origin = Some(self.object.clone());
        self.faults.push(Fault { key: key.into(), reason: reason.into(), fix: fix.into(), origin });
    }
}

/// Whether the settings have no API key, or a fault in `juspay.api_key_file`.
fn has_key_fault(loaded: &Result<Loaded, Faults>) -> bool {
    loaded.as_ref().is_err_and(|faults| faults.iter().any(|it| it.key == "juspay.api_key_file"))
}

/// An origin, with the object that each of its variables is in.
fn in_manifest(origin: &str, variables: &BTreeMap<String, (&str, String)>) -> String {
    let parts = origin.split(" and ").map(|part| {
        let place = part.strip_prefix(VARIABLE).and_then(|name| variables.get(name));
        place.map_or_else(|| part.to_owned(), |(_, place)| format!("{part} in {place}"))
    });
    parts.collect::<Vec<_>>().join(" and ")
}

/// `example.com` also matches addresses and image names with that host or a subdomain.
fn is_placeholder(value: &str) -> bool {
    PLACEHOLDERS.iter().any(|it| value == *it || (it.contains('.') && value.contains(it)))
}

fn placeholder(key: &str, origin: String) -> Fault {
    let reason = "still has the value of the example".to_owned();
    let fix = "replace it with the value of your installation".to_owned();
    Fault { key: key.to_owned(), reason, fix, origin: Some(origin) }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    items(pod, "/initContainers").chain(items(pod, "/containers"))
}

fn items<'v>(value: &'v Value, path: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}
