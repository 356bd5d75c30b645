//! The environment variable of every key: `RESTORE_GATEWAY_` and the path in capitals, joined by `__`, tables of an
//! array by their index. So `upstreams[0].endpoint` is `RESTORE_GATEWAY_UPSTREAMS__0__ENDPOINT`. A list of words or IDs
//! is one variable, separated by commas.

use std::collections::BTreeMap;

use super::keys::Key;
use super::kinds::Kind;

/// Prefix of every variable.
pub(super) const PREFIX: &str = "RESTORE_GATEWAY_";

/// Variables of the command line, without a key.
const NOT_TWINS: &[&str] = &[
    "RESTORE_GATEWAY_CONFIG",
    "RESTORE_GATEWAY_RECOVERY",
    // Set at build time; containers keep it.
    "RESTORE_GATEWAY_COMMIT",
    restore_engine::crash::VARIABLE,
];

/// Variables in which other programs configure a proxy.
const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The variables of a process. Those with the prefix `RESTORE_GATEWAY_` belong to keys. Any variable may hold a secret
/// that a key refers to.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

/// Shows names only: a variable may contain a secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys().filter(|name| name.starts_with(PREFIX))).finish()
    }
}

impl Environment {
    /// Creates an environment from these variables.
    pub fn new<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Returns the value of any variable.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the names of set variables that configure a proxy for outbound calls.
    pub(super) fn proxies(&self) -> Vec<String> {
        let set = |name: &&str| self.variable(name).is_some_and(|value| !value.trim().is_empty());
        PROXIES.into_iter().filter(set).map(str::to_owned).collect()
    }

    /// Returns name and value of the variable for a path.
    pub(super) fn get(&self, path: &str) -> Option<(String, &str)> {
        self.0.get_key_value(&twin(path)).map(|(name, value)| (name.clone(), value.as_str()))
    }

    /// Returns true if a variable belongs to the path or to something in it.
    pub(super) fn reaches(&self, path: &str) -> bool {
        let inside = format!("{}__", twin(path));
        self.0.keys().any(|name| name.starts_with(&inside))
    }

    /// Returns the names of the variables that should belong to a key. It excludes those of the command line, and those
    /// that Kubernetes sets for a service whose name starts with `restore-gateway`.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let hosts: Vec<_> = self.0.keys().filter_map(|name| name.strip_suffix("_SERVICE_HOST")).collect();
        self.0.keys().map(String::as_str).filter(move |name| {
            let of_service = |host: &&str| {
                name.strip_prefix(*host).is_some_and(|rest| {
                    rest.starts_with("_SERVICE_HOST")
                        || rest.starts_with("_SERVICE_PORT")
                        || rest.starts_with("_PORT")
                })
            };
            name.starts_with(PREFIX) && !NOT_TWINS.contains(name) && !hosts.iter().any(of_service)
        })
    }
}

/// Reads the variables of this process. No other code does.
pub fn read_environment() -> Environment {
    Environment::new(
        std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())),
    )
}

/// Returns the variable of a path.
pub(super) fn twin(path: &str) -> String {
    PREFIX.to_owned() + &path.replace(['.', '['], "__").replace(']', "").to_uppercase()
}

/// Returns the path of the key that a variable belongs to.
pub(super) fn path_of(variable: &str, keys: &[Key]) -> Option<String> {
    path_in(variable.strip_prefix(PREFIX)?, keys)
}

fn path_in(rest: &str, keys: &[Key]) -> Option<String> {
    keys.iter().find_map(|key| {
        let rest = rest.strip_prefix(&key.name.to_uppercase())?;
        match key.kind {
            Kind::Table(keys) => Some(format!("{}.{}", key.name, path_in(rest.strip_prefix("__")?, keys)?)),
            Kind::Tables(keys) => {
                let (index, rest) = rest.strip_prefix("__")?.split_once("__")?;
                let index: usize = index.parse().ok().filter(|number: &usize| number.to_string() == index)?;
                Some(format!("{}[{index}].{}", key.name, path_in(rest, keys)?))
            }
            _ => rest.is_empty().then(|| key.name.to_owned()),
        }
    })
}

/// Returns every path, with this index for the tables of an array.
pub(super) fn paths(keys: &[Key], index: usize) -> Vec<String> {
    let mut all = Vec::new();
    for key in keys {
        let (inner, prefix) = match key.kind {
            Kind::Table(keys) => (keys, format!("{}.", key.name)),
            Kind::Tables(keys) => (keys, format!("{}[{index}].", key.name)),
            _ => {
                all.push(key.name.to_owned());
                continue;
            }
        };
        all.extend(paths(inner, index).into_iter().map(|path| format!("{prefix}{path}")));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Config;

    #[test]
    fn every_path_has_one_twin_and_back() {
        let paths = paths(Config::KEYS, 3);
        let twins: BTreeSet<_> = paths.iter().map(|path| twin(path)).collect();
        assert_eq!(twins.len(), paths.len());
        for path in &paths {
            assert_eq!(path_of(&twin(path), Config::KEYS).as_ref(), Some(path));
        }
        assert_eq!(twin("upstreams[0].endpoint"), "RESTORE_GATEWAY_UPSTREAMS__0__ENDPOINT");
        assert_eq!(path_of("RESTORE_GATEWAY_UPSTREAMS__00__NAME", Config::KEYS), None);
        assert_eq!(path_of("RESTORE_GATEWAY_LISTEN", Config::KEYS), None);
    }

    #[test]
    fn variables_of_others_are_no_twins() {
        let environment = Environment::new([
            ("PATH", "/bin"),
            ("RESTORE_GATEWAY_CONFIG", "x.toml"),
            ("RESTORE_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("RESTORE_GATEWAY_SERVICE_PORT_HTTP", "80"),
            ("RESTORE_GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("RESTORE_GATEWAY_LISTEN_PORT", "80"),
        ]);
        // A service named restore-gateway explains PORT, but not LISTEN_PORT.
        assert_eq!(environment.names().collect::<Vec<_>>(), ["RESTORE_GATEWAY_LISTEN_PORT"]);
    }
}
