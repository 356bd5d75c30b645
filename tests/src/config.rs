//! Configuration of a test's gateway.

/// Configuration of a test's gateway: the default of a test with changes by dotted path.
#[derive(Clone, Debug, Default)]
pub struct TestConfig {
    changes: Vec<(String, String)>,
    unset: Vec<String>,
    routes: Option<String>,
    tables: String,
}

impl TestConfig {
    /// The same configuration with the credential `robot`: the clouds' own user, its password in the file `password`.
    #[must_use]
    pub fn robot(self) -> Self {
        self.and(ROBOT)
    }

    /// The same configuration with more tables, after everything else; `{clouds}` stands for the clouds' URL.
    #[must_use]
    pub fn and(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self
    }

    /// The same configuration with another value, written as in TOML: `set("polling.absence_confirmation_seconds", "1")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.changes.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same configuration without a key of the default of a test, so that it has the gateway's own default.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.unset.push(key.to_owned());
        self
    }

    /// The same configuration with other upstreams and routes; `{clouds}` stands for the clouds' URL.
    #[must_use]
    pub fn routes(mut self, toml: &str) -> Self {
        self.routes = Some(toml.to_owned());
        self
    }

    /// The same configuration with other routes to the usual upstreams `cbr`, `csbs` and `vbs`.
    #[must_use]
    pub fn ways(self, toml: &str) -> Self {
        self.routes(&format!("{UPSTREAMS}{toml}"))
    }

    /// The same configuration, these lines written into each of the usual upstreams.
    #[must_use]
    pub fn each_upstream(self, lines: &str) -> Self {
        let routes = usual().replace("\nendpoint", &format!("\n{lines}\nendpoint"));
        self.routes(&routes)
    }

    /// With what a process has besides, wherever a test does not say otherwise.
    pub(crate) fn served(mut self, served: &[(&str, &str)]) -> Self {
        let served = served.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.changes.splice(0..0, served);
        self
    }

    /// The file for clouds at `clouds`.
    #[must_use]
    pub fn toml(&self, clouds: &str) -> String {
        let mut table: toml::Table = BASE.parse().expect("the base settings");
        for (key, value) in &self.changes {
            let value: toml::Table = format!("value = {value}").parse().expect(value);
            let mut at = &mut table;
            let mut parts: Vec<&str> = key.split('.').collect();
            let last = parts.pop().expect("a key");
            for part in parts {
                at = at
                    .entry(part)
                    .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                    .as_table_mut()
                    .expect("a table");
            }
            at.insert(last.to_owned(), value["value"].clone());
        }
        for key in &self.unset {
            let (name, key) = key.split_once('.').expect("a table and a key");
            table.get_mut(name).and_then(toml::Value::as_table_mut).expect("a table").remove(key);
        }
        let routes = self.routes.clone().unwrap_or_else(usual);
        format!("{table}\n{routes}\n{}", self.tables).replace("{clouds}", clouds)
    }
}

/// Quick, quiet, in memory.
const BASE: &str = r#"
[listen]
api = "127.0.0.1:0"
admin = "127.0.0.1:0"
allowed_hosts = ["gateway", "x", "a", "other"]
[ledger]
url = "memory:"
[polling]
interval_seconds = 0.5
status_cache_ttl_seconds = 0.2
[telemetry]
log_level = "error"
log_format = "text"
"#;

/// What a process has besides.
pub(crate) const SERVED: [(&str, &str); 3] = [
    ("ledger.url", "\"sqlite:ledger.db\""),
    ("telemetry.log_level", "\"info\""),
    ("telemetry.log_format", "\"json\""),
];

/// The upstreams of most tests: one of each generation, in one simulated world.
const UPSTREAMS: &str = r#"
[[upstreams]]
name = "cbr"
generation = "cbr-v3"
endpoint = "{clouds}"
evs_endpoint = "{clouds}/evs"
[[upstreams]]
name = "csbs"
generation = "csbs-v1"
endpoint = "{clouds}"
[[upstreams]]
name = "vbs"
generation = "vbs-v2"
endpoint = "{clouds}/vbs"
evs_endpoint = "{clouds}/evs"
"#;

/// CSBS by backup, VBS for disks, CBR for all else.
const ROUTES: &str = r#"
[[routes]]
match = { backup_ids = ["8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e"] }
upstream = "csbs"
[[routes]]
match = { target_types = ["volume"] }
upstream = "vbs"
[[routes]]
upstream = "cbr"
"#;

const ROBOT: &str = r#"
[[credentials]]
name = "robot"
type = "iam-password"
iam_endpoint = "{clouds}"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { file = "password" }
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
"#;

fn usual() -> String {
    format!("{UPSTREAMS}{ROUTES}")
}
