use secrecy::ExposeSecret;

use super::{CREDENTIAL, LEAST, clean, faults, read};

/// Returns the output for people about a text.
fn shown(text: &str) -> String {
    match read(text, &[]) {
        Ok((_, faults)) | Err(faults) => faults.render_human(false),
    }
}

fn held() -> String {
    LEAST.replace("name = \"a\"", "name = \"a\"\ncredential = \"robot\"")
}

#[test]
fn an_upstream_names_a_credential_that_there_is() {
    let config = clean(&format!("{}{CREDENTIAL}", held()), &[]);
    assert_eq!(config.upstreams[0].credential, "robot");
    assert_eq!(config.credentials[0].password.as_ref().unwrap().expose(), "example-only");
    assert!(!format!("{:?}{}", config, config.to_json()).contains("example-only"));
    let found = shown(&held());
    assert!(found.contains("no credential has this name"), "{found:?}");
}

#[test]
fn a_credential_has_one_project_and_its_own_name_and_travels_in_no_clear() {
    for (from, to, why) in [
        ("project = \"eu-test-1\"", "", "it has no project"),
        ("project = \"eu-test-1\"", "project_id = \"eu-test-1\"", "this is no id of a project"),
        ("\"robot\"", "\"passthrough\"", "this name is taken"),
        ("https://iam", "http://iam", "http without tls"),
    ] {
        let text = format!("{LEAST}{}", CREDENTIAL.replace(from, to));
        let found = shown(&text);
        assert!(found.contains(why), "{why}: {found}");
    }
    let twice = format!("{LEAST}{CREDENTIAL}{CREDENTIAL}");
    assert!(shown(&twice).contains("this name is taken"));
}

/// A complete credential of each type.
pub(super) const KINDS: [(&str, &str); 4] = [
    (
        "iam-password",
        r#"iam_endpoint = "https://iam.example"
user = "restore-bot"
domain = "D"
password = { env = "IAM_PASSWORD" }
project = "eu-test-1""#,
    ),
    (
        "iam-agency",
        r#"iam_endpoint = "https://iam.example"
user = "restore-bot"
domain = "D"
password = { env = "IAM_PASSWORD" }
agency_name = "restore-agency"
agency_domain = "customer-domain"
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9""#,
    ),
    (
        "iam-token",
        r#"iam_endpoint = "https://iam.example"
token = { env = "IAM_PASSWORD" }
project = "eu-test-1""#,
    ),
    (
        "aksk",
        r#"access_key = { env = "IAM_PASSWORD" }
secret_key = { env = "IAM_PASSWORD" }
project_id = "0a1b2c3d4e5f60718293a4b5c6d7e8f9""#,
    ),
];

/// Every key that some types do not have.
const OPTIONAL: [&str; 3] = [
    "agency_member = \"xrole_name\"",
    "security_token = { env = \"IAM_PASSWORD\" }",
    "ca_file = \"private-ca.pem\"",
];

fn of_kind(kind: &str, lines: &str) -> String {
    format!("{LEAST}\n[[credentials]]\nname = \"robot\"\ntype = \"{kind}\"\n{lines}\n")
}

fn name_of(line: &str) -> &str {
    line.split(' ').next().unwrap()
}

#[test]
fn each_kind_has_exactly_what_it_needs() {
    let all: Vec<&str> = KINDS.iter().flat_map(|(_, lines)| lines.lines()).chain(OPTIONAL).collect();
    for (kind, lines) in KINDS {
        clean(&of_kind(kind, lines), &[]);
        for line in lines.lines() {
            let without: String =
                lines.lines().filter(|other| *other != line).flat_map(|line| [line, "\n"]).collect();
            let found = faults(&of_kind(kind, &without), &[]).join("\n");
            let project = name_of(line).starts_with("project") && kind != "aksk";
            let why = if project {
                "it has no project".to_owned()
            } else {
                format!("missing-key credentials[0].{0}: `{0}` is missing", name_of(line))
            };
            assert!(found.contains(&why) && found.lines().count() == 1, "{kind} without {line}: {found}");
        }
        for line in &all {
            let name = name_of(line);
            let has = lines.lines().any(|line| name_of(line) == name);
            let may = match name {
                "project" | "project_id" | "ca_file" => kind != "aksk",
                "agency_member" => kind == "iam-agency",
                "security_token" => kind == "aksk",
                _ => false,
            };
            if has || may {
                continue;
            }
            let found = faults(&of_kind(kind, &format!("{lines}\n{line}")), &[]).join("\n");
            let why = format!("`{name}` means nothing to a credential of kind `{kind}`");
            assert!(found.contains(&why) && found.lines().count() == 1, "{kind} with {line}: {found}");
        }
    }
    let agency = KINDS[1].1.to_owned() + "\n" + OPTIONAL[0];
    clean(&of_kind("iam-agency", &agency), &[]);
    clean(&of_kind("aksk", &format!("{}\n{}", KINDS[3].1, OPTIONAL[1])), &[]);
}

#[test]
fn an_endpoint_may_be_left_to_the_catalog_of_iam_alone() {
    let bare =
        held().replace("endpoint = \"https://cbr.eu-test-1.cloud.example\"\n", "region = \"eu-test-1\"\n");
    let robot = |(kind, lines): (&str, &str)| {
        format!("{bare}\n[[credentials]]\nname = \"robot\"\ntype = \"{kind}\"\n{lines}\n")
    };
    for kind in &KINDS[..3] {
        let config = clean(&robot(*kind), &[]);
        assert_eq!(
            (&config.upstreams[0].endpoint, config.upstreams[0].region.as_deref()),
            (&None, Some("eu-test-1"))
        );
    }
    let found = faults(&robot(KINDS[3]), &[]).join("\n");
    assert!(found.contains("upstreams[0].endpoint: `endpoint` is missing"), "{found}");
    let passed = bare.replace("robot", "passthrough");
    assert!(faults(&passed, &[]).join("\n").contains("upstreams[0].endpoint: `endpoint` is missing"));
    let both = robot(KINDS[0]).replace("region =", "evs_endpoint = \"https://evs.example\"\nregion =");
    assert!(faults(&both, &[]).join("\n").contains("conflict upstreams[0].evs_endpoint"));
    let written = format!("{}{CREDENTIAL}", held().replace("credential =", "region = \"eu\"\ncredential ="));
    assert!(faults(&written, &[]).join("\n").contains("conflict upstreams[0].region"));
}

#[test]
fn a_client_certificate_has_its_key() {
    let with = |lines: &str| LEAST.replace("generation", &format!("{lines}\ngeneration"));
    let (certificate, key) =
        ("client_certificate_file = \"gateway.pem\"", "client_key = { env = \"IAM_PASSWORD\" }");
    let config = clean(&with(&format!("{certificate}\n{key}")), &[]);
    assert_eq!(config.upstreams[0].client_key.as_ref().unwrap().expose(), "example-only");
    for (line, missing) in [(certificate, "client_key"), (key, "client_certificate_file")] {
        let found = faults(&with(line), &[]).join("\n");
        assert!(found.contains(&format!("upstreams[0].{missing}: `{missing}` is missing")), "{found}");
    }
}

#[test]
fn a_secret_of_a_file_is_read_again_by_the_same_rules() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let write = |text: &str, mode: u32| {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("one\n", 0o600);
    let reference = format!("{{ file = {path:?} }}");
    let text = format!("{LEAST}{}", CREDENTIAL.replace("{ env = \"IAM_PASSWORD\" }", &reference));
    let secret = clean(&text, &[]).credentials[0].password.clone().unwrap();
    assert_eq!((secret.expose(), secret.file()), ("one", Some(path.as_path())));
    let reread = || secret.reread().map(|secret| secret.expose_secret().to_owned());
    write("two\n", 0o640);
    assert_eq!(reread().as_deref(), Ok("two"));
    for (text, mode, why) in [
        ("hunter2", 0o644, "0640 is the widest"),
        ("\n", 0o600, "empty"),
        (&"x".repeat(70_000), 0o600, "more than 65536 bytes"),
    ] {
        write(text, mode);
        let found = reread().unwrap_err();
        assert!(found.contains(why) && !found.contains("hunter2"), "{found}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(reread().unwrap_err().contains("cannot be read"));
}
