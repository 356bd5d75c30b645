//! What the settings promise as a whole.

mod bounds;
mod credentials;
mod environment;
mod faults;
mod rules;
mod secrets;
mod shipped;
mod webhooks;

use super::{Environment, Faults, Settings, Source, load};

/// The generations that the gateway is built with.
const GENERATIONS: &[&str] = &["csbs-v1", "cbr-v3", "vbs-v2"];

/// The least that can be loaded.
const LEAST: &str = r#"
[[upstreams]]
name = "a"
generation = "cbr-v3"
endpoint = "https://cbr.eu-test-1.cloud.example"

[[routes]]
upstream = "a"
"#;

/// A secret of a webhook, in the variable `HOOK_SECRET`.
const HOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A webhook to append to [`LEAST`].
const HOOK: &str = r#"
[[webhooks]]
name = "ops"
url = "https://hooks.example.com/restores"
secret = { env = "HOOK_SECRET" }
"#;

/// A credential to append to [`LEAST`].
const CREDENTIAL: &str = r#"
[[credentials]]
name = "robot"
kind = "iam-password"
iam = "https://iam.eu-test-1.cloud.example"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { env = "IAM_PASSWORD" }
project = "eu-test-1"
"#;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<(Settings, Faults), Faults> {
    let variables =
        variables.iter().copied().chain([("HOOK_SECRET", HOOK_SECRET), ("IAM_PASSWORD", "example-only")]);
    load(&Source::new("gateway.toml", text), &Environment::new(variables), GENERATIONS)
}

/// The settings of a text without any fault.
fn clean(text: &str, variables: &[(&str, &str)]) -> Settings {
    match read(text, variables) {
        Ok((settings, warnings)) if warnings.is_empty() => settings,
        Ok((_, faults)) | Err(faults) => panic!("{}", faults.render_human(false)),
    }
}

/// `line:column code path: message` of each fault.
fn faults(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let faults = match read(text, variables) {
        Ok((_, faults)) | Err(faults) => faults,
    };
    faults
        .iter()
        .map(|fault| {
            let place = match (fault.line, fault.column, &fault.variable) {
                (Some(line), Some(column), _) => format!("{line}:{column}"),
                (_, _, variable) => variable.clone().unwrap_or_default(),
            };
            format!("{place} {} {}: {}", fault.code.as_str(), fault.path, fault.message)
        })
        .collect()
}
