use super::{CREDENTIAL, LEAST, faults, read};
use crate::{Code, Severity};

const FIVE: &str = r#"[listen]
api = 8080

[submit]
max_attempts = 4

[[upstreams]]
name = "eu-cbr"
generation = "cbr-v2"
endpoint = "https://cbr.eu-test-1.cloud.example"

[[routes]]
upstream = "eu-cbr"
match = { target_types = ["server"] }

[[routes]]
  upstrem = "eu-cbr"
  upstream = "eu-cbs"
"#;

#[test]
fn all_faults_are_reported_at_once_with_their_places() {
    assert_eq!(
        faults(FIVE, &[]),
        [
            "2:7 wrong-type listen.api: expected an ip address with a port, found a whole number",
            "5:16 bad-value submit.max_attempts: 4 is out of bounds",
            "9:14 unknown-generation upstreams[0].generation: unknown generation `cbr-v2`",
            "17:3 unknown-key routes[1].upstrem: unknown key `upstrem`",
            "18:14 dangling-reference routes[1].upstream: no upstream is named `eu-cbs`",
        ]
    );
    let helps: Vec<_> =
        read(FIVE, &[]).unwrap_err().iter().map(|fault| fault.help.clone().unwrap_or_default()).collect();
    assert_eq!(
        helps,
        [
            "",
            "from 1 to 3",
            "did you mean `cbr-v3`? allowed: csbs-v1, cbr-v3, vbs-v2",
            "did you mean `upstream`? allowed here: match, source_apis, upstream, traffic_percent, fallback_upstream, baseline_read, per_disk_restore, idempotency_key, overdue_seconds, idempotency_key_ttl_seconds, dedup_window_seconds",
            "did you mean `eu-cbr`?",
        ]
    );
}

#[test]
fn people_see_the_line() {
    let text = "[[routes]]\n  upstrem = \"a\"\n";
    let shown = read(&(LEAST.to_owned() + text), &[]).unwrap_err().render_human(false);
    let expected = "\
error[missing-key]: routes[1].upstream: `upstream` is missing
 --> gateway.toml:9:1
  |
9 | [[routes]]
  | ^^^^^^^^^^
  |
  = help: name of the upstream

error[unknown-key]: routes[1].upstrem: unknown key `upstrem`
  --> gateway.toml:10:3
   |
10 |   upstrem = \"a\"
   |   ^^^^^^^
   |
   = help: did you mean `upstream`? allowed here: match, source_apis, upstream, traffic_percent, fallback_upstream, baseline_read, per_disk_restore, idempotency_key, overdue_seconds, idempotency_key_ttl_seconds, dedup_window_seconds

";
    assert_eq!(shown, expected.to_owned() + "2 errors\n");
    assert!(!shown.contains('\u{1b}'));
    assert!(read("x = 1", &[]).unwrap_err().render_human(true).contains('\u{1b}'));
}

#[test]
fn programs_and_builds_see_the_same() {
    let faults =
        read(&LEAST.replace("\"a\"\n\n", "\"a\""), &[("RESTORE_GATEWAY_LIMITS__MAX_PAGE_SIZE", "0")])
            .unwrap_err();
    assert_eq!(
        faults.render_json(),
        serde_json::json!({
            "file": "gateway.toml",
            "errors": 1,
            "warnings": 0,
            "faults": [{
                "severity": "error",
                "code": "bad-value",
                "path": "limits.max_page_size",
                "line": null,
                "column": null,
                "variable": "RESTORE_GATEWAY_LIMITS__MAX_PAGE_SIZE",
                "message": "0 is out of bounds",
                "help": "from 1 to 1000",
            }],
        })
    );
    assert_eq!(
        faults.render_github(),
        "::error title=bad-value::limits.max_page_size: 0 is out of bounds (in the variable \
         RESTORE_GATEWAY_LIMITS__MAX_PAGE_SIZE)%0Afrom 1 to 1000\n"
    );
    assert_eq!(
        read("a,b = 100%", &[]).unwrap_err().render_github(),
        "::error file=gateway.toml,line=1,col=2,title=syntax::key with no value, expected `=`\n"
    );
    assert_eq!(faults.to_string(), "1 error in the settings gateway.toml");
}

#[test]
fn broken_text_is_one_fault() {
    assert_eq!(faults("[listen]\napi = \n", &[]).len(), 1);
    assert!(faults("[listen]\napi = 1\napi = 2\n", &[])[0].starts_with("3:1 syntax : duplicate key"));
}

#[test]
fn nothing_at_all_says_what_is_missing() {
    let expected = [
        "1:1 missing-key upstreams: no upstream: there is no cloud to restore in",
        "1:1 missing-key routes: no route: every restore would be rejected",
    ];
    assert_eq!(faults("", &[]), expected);
    assert!(read("", &[]).unwrap_err().render_human(false).contains("--> gateway.toml:1:1"));
    assert_eq!(
        faults("[[upstreams]]\n", &[]),
        [
            "1:1 missing-key upstreams[0].name: `name` is missing",
            "1:1 missing-key upstreams[0].generation: `generation` is missing",
            "1:1 missing-key routes: no route: every restore would be rejected",
            "1:1 missing-key upstreams[0].endpoint: `endpoint` is missing",
        ]
    );
}

#[test]
fn a_table_in_the_wrong_shape_is_one_fault() {
    let text = "limits = 3\nroutes = { upstream = \"a\" }\n[[listen]]\n".to_owned();
    let found = faults(&(text + LEAST.split("[[routes]]").next().unwrap()), &[]);
    assert_eq!(
        found,
        [
            "1:10 wrong-type limits: expected a table, found a whole number",
            "2:10 wrong-type routes: expected an array of tables, found a table",
            "3:1 wrong-type listen: expected a table, found a list",
        ]
    );
}

#[test]
fn a_key_in_the_wrong_table_is_shown_home() {
    let help = |text: &str| {
        read(&(text.to_owned() + LEAST), &[]).unwrap_err().iter().next().unwrap().help.clone().unwrap()
    };
    assert!(
        help("max_page_size = 5\n").starts_with("did you mean `limits.max_page_size`? allowed here: listen,")
    );
    assert!(help("[limits]\nbaseline_read = true\n").starts_with("did you mean `routes[].baseline_read`? "));
    assert!(help("[limits]\ncolour = 1\n").starts_with("allowed here: max_connections,"));
}

#[test]
fn renamed_key_answers_with_new_name() {
    let help = |text: &str| {
        read(&(text.to_owned() + LEAST), &[]).unwrap_err().iter().next().unwrap().help.clone().unwrap()
    };
    assert_eq!(help("[limits]\nconnections = 5\n"), "it was renamed to `limits.max_connections`");
    assert_eq!(help("[follow]\nsettle_seconds = 5\n"), "it was renamed to `polling`");
    let text = format!("{LEAST}fan_out = true\nmatch = {{ target = [\"server\"] }}\n");
    let faults = read(&text, &[]).unwrap_err();
    let helps: Vec<_> = faults.iter().map(|fault| fault.help.clone().unwrap()).collect();
    assert_eq!(
        helps,
        ["it was renamed to `routes[].per_disk_restore`", "it was renamed to `routes[].match.target_types`"]
    );
    for (old, new) in [
        ("LIMITS_CONNECTIONS", "LIMITS__MAX_CONNECTIONS"),
        ("LISTEN_API", "LISTEN__API"),
        ("UPSTREAMS_2_BREAKER_SECONDS", "UPSTREAMS__2__CIRCUIT_BREAKER__OPEN_SECONDS"),
    ] {
        let faults = read(LEAST, &[(&format!("RESTORE_GATEWAY_{old}"), "1")]).unwrap_err();
        let help = faults.iter().next().unwrap().help.clone();
        assert_eq!(help, Some(format!("it was renamed to `RESTORE_GATEWAY_{new}`")));
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let url = "https://cbr.eu-test-1.cloud.example";
    let cases = [
        LEAST.replace(url, "https://bot:hunter2@cbr.eu-test-1.cloud.example"),
        LEAST.replace("name = \"a\"", "name = \"a\"\ncredential = \"hunter2\""),
        LEAST.replace("name = \"a\"", "name = \"a\"\ncredential = { password = \"hunter2\" }"),
        LEAST.replace("name = \"a\"", "name = \"a\"\napi-token = \"\"\"\nhunter2\n\"\"\""),
        format!("{LEAST}{}", CREDENTIAL.replace("{ env = \"IAM_PASSWORD\" }", "\"hunter2\"")),
        format!("{LEAST}{CREDENTIAL}x = {{ secret_key = [\"hunter2\"] }}"),
        format!("[ledger]\nurl = \"postgres://me:hunter2@db/restores\"\n{LEAST}"),
        format!("[ledger]\nurl = \"postgres://me:hunter2@half@db/restores\"\n{LEAST}"),
        format!("[ledger]\nurl = \"postgres://me:@hunter2/restores\"\n{LEAST}"),
        format!("[ledger]\nurl = \"postgresql://db/restores?user=me&password=hunter2\"\n{LEAST}"),
        format!("[ledger]\nurl = \"postgres:me:hunter2@db/restores\"\n{LEAST}"),
        format!("[ledger]\npassword = \"hunter2\"\n{LEAST}"),
        format!("[ledger]\npassword = {{ env = \"A\", x = \"hunter2\" }}\n{LEAST}"),
        format!("[ledger]\npassword = [\"hunter2\"]\n{LEAST}"),
        format!("[other]\nurl = \"amqp://me:hunter2@db/restores\"\n{LEAST}"),
    ];
    for text in cases {
        let faults = read(&text, &[]).unwrap_err();
        assert!(faults.iter().all(|fault| fault.code == Code::SecretInline), "{faults:?}");
        let shown = format!(
            "{faults:?}{faults}{}{}{}",
            faults.render_human(false),
            faults.render_json(),
            faults.render_github()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for broken in ["password = \"hunter2\nx =", "url = \"https://bot:hunter2@host\nx = 1"] {
        let shown = read(broken, &[]).unwrap_err().render_human(false);
        assert!(shown.contains("syntax") && !shown.contains("hunter2"), "{shown}");
    }
    // A reference to a secret is not a secret.
    let reference = format!("{LEAST}\n[[identities]]\npassword = {{ file = \"/run/secrets/iam\" }}");
    assert!(read(&reference, &[]).unwrap_err().iter().all(|fault| fault.code == Code::UnknownKey));
}

#[test]
fn a_warning_does_not_keep_the_configuration_from_loading() {
    let (_, warnings) = read(&format!("{LEAST}\n[[routes]]\nupstream = \"a\"\n"), &[]).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings.iter().all(|fault| fault.severity == Severity::Warning));
    assert!(warnings.render_human(false).starts_with("warning[unreachable-route]: routes[1]: "));
    assert!(warnings.render_human(false).ends_with("1 warning\n"));
}

#[test]
fn no_text_is_too_broken_to_be_shown() {
    let whole = crate::DEFAULT_TOML;
    for end in (0..whole.len()).step_by(61).filter(|end| whole.is_char_boundary(*end)) {
        for tail in ["", "\"é", "= [", "\n[[upstreams]]\nname = 1\nendpoint = { x.y = 1979-05-27 }"] {
            if let Err(faults) = read(&format!("{}{tail}", &whole[..end]), &[]) {
                assert!(faults.has_errors() && !faults.render_human(true).is_empty());
                assert_eq!(faults.render_github().lines().count(), faults.len());
            }
        }
    }
}
