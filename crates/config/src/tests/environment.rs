use super::credentials::KINDS;
use super::{CREDENTIAL, HOOK, LEAST, caller, clean, faults, read};
use crate::environment::{paths, twin};
use crate::keys::{Key, Preset};
use crate::kinds::Kind;
use crate::{Config, DEFAULT_TOML};

/// Returns a value that differs from the default of a kind, for the environment and for the tree.
fn other(kind: &Kind, preset: Preset) -> (String, serde_json::Value) {
    let text = match (kind, preset) {
        (Kind::Flag, Preset::Value(text)) => (!text.parse::<bool>().unwrap()).to_string(),
        (Kind::Whole(least, most), Preset::Value(text)) => {
            let number: u64 = text.parse().unwrap();
            (if number < *most { number + 1 } else { *least }).to_string()
        }
        (Kind::Whole(least, _), _) => (least + 1).to_string(),
        (Kind::KeyHash, _) => format!("sha256:{}", "1".repeat(64)),
        (Kind::Texts, _) => return ("one, two".to_owned(), vec!["one", "two"].into()),
        (Kind::Seconds(..), Preset::Value(text)) => (text.parse::<u64>().unwrap() + 1).to_string(),
        (Kind::OrNone(Kind::Seconds(..)), _) => "7".to_owned(),
        (Kind::Seconds(..), _) => "77".to_owned(),
        (Kind::UpTo(_), _) => "0.75".to_owned(),
        (Kind::Address, _) => "127.0.0.1:9999".to_owned(),
        (Kind::Url, _) => "https://other.cloud.example/prefix".to_owned(),
        (Kind::LedgerAt, _) => "memory:".to_owned(),
        (Kind::Secret, _) => return ("env:HOOK_SECRET".to_owned(), "<redacted>".into()),
        (Kind::CredentialName, _) => "passthrough".to_owned(),
        (Kind::Generation, _) => "vbs-v2".to_owned(),
        (Kind::Word(words), Preset::Value(text)) => {
            (*words.iter().find(|word| **word != text).unwrap()).to_owned()
        }
        (Kind::Word(words), _) => words[0].to_owned(),
        (Kind::Words(words), _) => return ((*words).join(","), (*words).into()),
        (Kind::WaysIn, _) => {
            let all: Vec<_> =
                std::iter::once("canonical").chain(restore_generations::source_api::names()).collect();
            return (all.join(","), all.into());
        }
        (Kind::Ids, _) => return ("one, two".to_owned(), vec!["one", "two"].into()),
        _ => "other".to_owned(),
    };
    let value = kind.lex(&text);
    (text, value)
}

fn leaves(keys: &'static [Key], prefix: &str) -> Vec<(String, &'static Key)> {
    keys.iter()
        .flat_map(|key| match key.kind {
            Kind::Table(keys) => leaves(keys, &format!("{prefix}{}.", key.name)),
            Kind::Tables(keys) => leaves(keys, &format!("{prefix}{}[0].", key.name)),
            _ => vec![(format!("{prefix}{}", key.name), key)],
        })
        .collect()
}

#[test]
fn the_twin_of_every_key_wins_over_the_file() {
    let leaves = leaves(Config::KEYS, "");
    assert_eq!(leaves.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), paths(Config::KEYS, 0));
    for (path, key) in leaves {
        let (text, value) = match path.as_str() {
            "credentials[0].project_id" => ("0".repeat(32), "0".repeat(32).into()),
            "callers[0].project_ids" => ("0".repeat(32), vec!["0".repeat(32)].into()),
            "policies[0].callers" => ("job".to_owned(), vec!["job"].into()),
            "policies[0].upstreams" => ("a".to_owned(), vec!["a"].into()),
            "compat_endpoints[0].api" => ("cbr-v3".to_owned(), "cbr-v3".into()),
            "compat_endpoints[0].prefix" => ("/old".to_owned(), "/old".into()),
            "routes[0].fallback_upstream" => ("b".to_owned(), "b".into()),
            "compat_endpoints[0].upstream" => ("a".to_owned(), "a".into()),
            "compat_endpoints[0].deprecated_since" | "compat_endpoints[0].sunset" => {
                ("2027-06-30".to_owned(), "2027-06-30".into())
            }
            // Its path is not shown.
            "webhooks[0].url" => ("https://other.example".to_owned(), "https://other.example".into()),
            "callers[0].type" => ("api-key".to_owned(), "api-key".into()),
            "credentials[0].type" => ("iam-agency".to_owned(), "iam-agency".into()),
            _ => other(&key.kind, key.preset),
        };
        let variable = twin(&path);
        let mut variables = vec![(variable.as_str(), text.as_str())];
        if path == "upstreams[0].name" {
            variables.extend([("RESTORE_GATEWAY_ROUTES__0__UPSTREAM", "other")]);
        }
        if path == "routes[0].upstream" {
            variables.extend([("RESTORE_GATEWAY_UPSTREAMS__0__NAME", "other")]);
        }
        match path.as_str() {
            "upstreams[0].client_certificate_file" => {
                variables.push(("RESTORE_GATEWAY_UPSTREAMS__0__CLIENT_KEY", "env:IAM_PASSWORD"));
            }
            "upstreams[0].client_key" => {
                variables.push(("RESTORE_GATEWAY_UPSTREAMS__0__CLIENT_CERTIFICATE_FILE", "gateway.pem"));
            }
            "routes[0].per_disk_restore" => {
                variables.push(("RESTORE_GATEWAY_UPSTREAMS__0__GENERATION", "vbs-v2"));
            }
            "routes[0].fallback_upstream" => variables.extend([
                ("RESTORE_GATEWAY_UPSTREAMS__0__GENERATION", "csbs-v1"),
                ("RESTORE_GATEWAY_UPSTREAMS__1__NAME", "b"),
                ("RESTORE_GATEWAY_UPSTREAMS__1__GENERATION", "cbr-v3"),
                ("RESTORE_GATEWAY_UPSTREAMS__1__ENDPOINT", "https://other.cloud.example"),
            ]),
            "compat_endpoints[0].api"
            | "compat_endpoints[0].announce_deprecation"
            | "compat_endpoints[0].upstream"
            | "compat_endpoints[0].deprecated_since"
            | "compat_endpoints[0].sunset"
            | "compat_endpoints[0].link" => {
                variables.extend([
                    ("RESTORE_GATEWAY_COMPAT_ENDPOINTS__0__API", "cbr-v3"),
                    ("RESTORE_GATEWAY_COMPAT_ENDPOINTS__0__PREFIX", "/cbr"),
                ]);
            }
            "compat_endpoints[0].prefix" | "compat_endpoints[0].host" | "compat_endpoints[0].listen" => {
                variables.push(("RESTORE_GATEWAY_COMPAT_ENDPOINTS__0__API", "cbr-v3"));
            }
            "callers[0].name" => variables.push(("RESTORE_GATEWAY_POLICIES__0__CALLERS", "other")),
            _ => {}
        }
        let contradicts = path.ends_with("match.volume_ids");
        let text = if contradicts { LEAST } else { MATCHING };
        let text = match path.as_str() {
            "upstreams[0].region" => text.replace(ENDPOINT, "credential = \"robot\""),
            _ => text.to_owned(),
        };
        // A key of one caller type is an error in another.
        let kind = match path.strip_prefix("callers[0].").or(path.strip_prefix("tls.")).unwrap_or_default() {
            "issuer" | "audience" | "jwks_url" | "jwks_file" | "algorithms" | "subjects" | "ca_file" => "jwt",
            "iam_endpoint" | "domains" | "project_ids" => "iam-token",
            "access_key" | "secret_key" => "aksk",
            "key" if path == "callers[0].key" => "api-key",
            "subject_alt_names" | "certificate_file" | "key" | "client_ca_file" | "client_crl_file"
            | "client_auth" | "allow_expired_crl" => "mtls",
            _ => "api-key",
        };
        // Some remove a protection and cause a warning.
        let text = format!("{text}{HOOK}{}{}", credential(&path), caller(kind));
        let tree = read(&text, &variables).expect(&path).0.to_json();
        let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
        assert_eq!(tree.pointer(&pointer), Some(&value), "{variable}");
    }
}

/// Returns a credential that supports the key of a path: the supported keys depend on its type.
fn credential(path: &str) -> String {
    let lines = |kind: &str| KINDS.iter().find(|(name, _)| *name == kind).unwrap().1;
    let (kind, lines) = match path.strip_prefix("credentials[0].") {
        Some("type") => ("iam-password", lines("iam-agency")),
        Some("agency_name" | "agency_domain" | "agency_member") => ("iam-agency", lines("iam-agency")),
        Some("token") => ("iam-token", lines("iam-token")),
        Some("access_key" | "secret_key" | "security_token") => ("aksk", lines("aksk")),
        _ => return CREDENTIAL.to_owned(),
    };
    format!("\n[[credentials]]\nname = \"robot\"\ntype = \"{kind}\"\n{lines}\n")
}

const ENDPOINT: &str = "endpoint = \"https://cbr.eu-test-1.cloud.example\"";

/// A file with a table of every type.
const MATCHING: &str = r#"
[listen]
api = "127.0.0.1:1"
[[upstreams]]
name = "a"
generation = "cbr-v3"
endpoint = "https://cbr.eu-test-1.cloud.example"
[[routes]]
match = { project_ids = ["p"] }
upstream = "a"
"#;

#[test]
fn everything_can_stand_in_the_environment() {
    let config = clean(
        "",
        &[
            ("RESTORE_GATEWAY_UPSTREAMS__0__NAME", "a"),
            ("RESTORE_GATEWAY_UPSTREAMS__0__GENERATION", "csbs-v1"),
            ("RESTORE_GATEWAY_UPSTREAMS__0__ENDPOINT", "https://csbs.eu-test-1.cloud.example"),
            ("RESTORE_GATEWAY_ROUTES__0__UPSTREAM", "a"),
            ("RESTORE_GATEWAY_ROUTES__0__MATCH__PROJECT_IDS", "p"),
            ("RESTORE_GATEWAY_CONFIG", "gateway.toml"),
        ],
    );
    assert_eq!(config.upstreams[0].generation, "csbs-v1");
    assert_eq!(config.routes[0].r#match.project_ids, Some(vec!["p".to_owned()]));
}

#[test]
fn the_environment_adds_a_table_after_those_of_the_file() {
    let variables = [
        ("RESTORE_GATEWAY_ROUTES__1__UPSTREAM", "a"),
        ("RESTORE_GATEWAY_ROUTES__0__MATCH__TARGET_TYPES", "volume"),
    ];
    assert_eq!(clean(LEAST, &variables).routes.len(), 2);
    assert_eq!(
        faults(LEAST, &[("RESTORE_GATEWAY_ROUTES__3__UPSTREAM", "a")]),
        ["RESTORE_GATEWAY_ROUTES__3__UPSTREAM unknown-key RESTORE_GATEWAY_ROUTES__3__UPSTREAM: \
          the variable is for `routes[3].upstream`, which has no table"]
    );
    assert_eq!(
        faults(LEAST, &[("RESTORE_GATEWAY_ROUTES__1__BASELINE_READ", "false")])[0],
        "RESTORE_GATEWAY_ROUTES__1__* missing-key routes[1].upstream: `upstream` is missing"
    );
}

#[test]
fn unknown_variables_are_faults_with_the_nearest_name() {
    let near = |name: &str| {
        let faults = super::read(LEAST, &[(name, "1")]).unwrap_err();
        assert_eq!(faults.len(), 1);
        faults.iter().next().unwrap().help.clone()
    };
    assert_eq!(
        near("RESTORE_GATEWAY_LISTEN_APIS").as_deref(),
        Some("did you mean `RESTORE_GATEWAY_LISTEN__API`?")
    );
    assert_eq!(
        near("RESTORE_GATEWAY_UPSTREAMS_2_ENPOINT").as_deref(),
        Some("did you mean `RESTORE_GATEWAY_UPSTREAMS__2__ENDPOINT`?")
    );
    assert_eq!(near("RESTORE_GATEWAY_").as_deref(), None);
}

#[test]
fn a_fault_of_a_variable_names_the_variable() {
    let variables = [
        ("RESTORE_GATEWAY_SUBMIT__MAX_ATTEMPTS", "many"),
        ("RESTORE_GATEWAY_UPSTREAMS__0__CREDENTIAL", "hunter2"),
    ];
    let faults = super::read(DEFAULT_TOML, &variables).unwrap_err();
    let shown = faults.render_human(false);
    assert!(
        shown.contains(
            "error[wrong-type]: submit.max_attempts: expected a whole number from 1 to 3, found text\n \
             |\n \
             = note: set by the variable RESTORE_GATEWAY_SUBMIT__MAX_ATTEMPTS\n"
        ),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"));
    assert!(!format!("{:?}", super::Environment::new(variables)).contains("hunter2"));
}
