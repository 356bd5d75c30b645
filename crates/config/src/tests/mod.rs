//! Tests of the configuration as a whole.

mod bounds;
mod callers;
mod compat_endpoints;
mod credentials;
mod environment;
mod faults;
mod rules;
mod secrets;
mod shipped;
mod ways;
mod webhooks;

use super::{Config, Environment, Faults, Source, load};

/// The built-in generations.
const GENERATIONS: &[&str] = &["csbs-v1", "cbr-v3", "vbs-v2"];

/// The smallest configuration that loads.
const LEAST: &str = r#"
[[upstreams]]
name = "a"
generation = "cbr-v3"
endpoint = "https://cbr.eu-test-1.cloud.example"

[[routes]]
upstream = "a"
"#;

/// A webhook secret, in the variable `HOOK_SECRET`.
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
type = "iam-password"
iam_endpoint = "https://iam.eu-test-1.cloud.example"
user = "restore-bot"
domain = "OTC00000000001000012345"
password = { env = "IAM_PASSWORD" }
project = "eu-test-1"
"#;

/// A caller of each type, with its additional keys.
const CALLERS: [(&str, &str); 5] = [
    ("api-key", "key_hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\""),
    (
        "jwt",
        "issuer = \"https://login.example\"\naudience = \"gateway\"\njwks_url = \"https://login.example/keys\"",
    ),
    ("mtls", "subject_alt_names = [\"dns:nightly.example\"]"),
    ("iam-token", "iam_endpoint = \"https://iam.cloud.example\"\ndomains = [\"OTC00000000001000012345\"]"),
    ("aksk", "access_key = { env = \"AK\" }\nsecret_key = { env = \"SK\" }"),
];

/// Returns a caller of a type and its policy, to append to [`LEAST`].
fn caller(kind: &str) -> String {
    let (_, keys) = CALLERS.iter().find(|(name, _)| *name == kind).unwrap();
    let tls = match kind {
        "mtls" => {
            "[tls]\ncertificate_file = \"tls.crt\"\nkey = { env = \"HOOK_SECRET\" }\nclient_ca_file = \"ca.crt\"\nclient_crl_file = \"ca.crl\"\n"
        }
        _ => "",
    };
    format!(
        "{tls}[[callers]]\nname = \"job\"\ntype = \"{kind}\"\n{keys}\n\
         [[policies]]\ncallers = [\"job\"]\nactions = [\"restore\"]\n"
    )
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<(Config, Faults), Faults> {
    let variables = variables.iter().copied().chain([
        ("HOOK_SECRET", HOOK_SECRET),
        ("IAM_PASSWORD", "example-only"),
        ("TLS_KEY", "example-only"),
        ("AK", "RGTESTACCESSKEY00001"),
        ("SK", "rgTestSecretKey/000000000000000000000001"),
    ]);
    load(&Source::new("gateway.toml", text), &Environment::new(variables), GENERATIONS)
}

/// Returns the configuration of a text without errors or warnings.
fn clean(text: &str, variables: &[(&str, &str)]) -> Config {
    match read(text, variables) {
        Ok((config, warnings)) if warnings.is_empty() => config,
        Ok((_, faults)) | Err(faults) => panic!("{}", faults.render_human(false)),
    }
}

/// Returns `line:column code path: message` of each error and warning.
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
