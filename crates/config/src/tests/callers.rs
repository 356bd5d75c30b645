use super::{CALLERS, CREDENTIAL, Environment, GENERATIONS, LEAST, caller, clean, faults, load};
use crate::Source;

fn shown(text: &str) -> String {
    faults(text, &[]).join("\n")
}

#[test]
fn each_kind_has_its_keys_and_no_other() {
    for (kind, keys) in CALLERS {
        let text = format!("{LEAST}{}", caller(kind));
        assert_eq!(clean(&text, &[]).callers[0].r#type.as_str(), kind);
        for key in keys.lines() {
            let name = key.split(' ').next().unwrap();
            let found = shown(&text.replace(key, ""));
            assert!(
                found.contains(" missing-key callers[0].") && found.contains(name),
                "{kind} {name}: {found}"
            );
        }
        let foreign =
            if kind == "mtls" { "key_hash = \"sha256:0\"" } else { "subject_alt_names = [\"dns:x\"]" };
        let found = shown(&text.replace(keys, &format!("{keys}\n{foreign}")));
        assert!(
            found.contains("callers[0].key_hash") || found.contains("`subject_alt_names` means nothing"),
            "{kind}: {found}"
        );
    }
    let both = caller("api-key")
        .replace("type = \"api-key\"", "type = \"api-key\"\nsubject_alt_names = [\"dns:x\"]");
    assert_eq!(
        shown(&format!("{LEAST}{both}")),
        "12:21 conflict callers[0].subject_alt_names: `subject_alt_names` means nothing to a caller of kind `api-key`"
    );
}

#[test]
fn policies_name_what_is_there() {
    let text = format!("{LEAST}{}", caller("api-key"));
    let found = shown(&text.replace("callers = [\"job\"]", "callers = [\"jobb\"]"));
    assert!(found.contains("no caller is named `jobb`"), "{found}");
    assert!(found.contains("useless-caller callers[0]: no policy names this caller"), "{found}");
    let found = shown(&format!("{text}upstreams = [\"b\"]\n"));
    assert!(found.contains("no upstream is named `b`"), "{found}");
    let found = shown(&text.replace("\"restore\"", "\"restores\""));
    assert!(found.contains("`restores` is not allowed here"), "{found}");
    assert!(shown(&format!("{text}{}", caller("api-key"))).contains("this name is taken"));
}

#[test]
fn one_key_is_one_callers() {
    for kind in ["api-key", "aksk"] {
        let other = caller(kind).replace("\"job\"", "\"other\"");
        let found = shown(&format!("{LEAST}{}{other}", caller(kind)));
        assert!(found.contains("another caller has the same key"), "{kind}: {found}");
    }
}

#[test]
fn a_key_may_stand_in_a_file_and_is_long_enough() {
    let key = "key = { env = \"HOOK_SECRET\" }";
    let hash = caller("api-key").lines().find(|line| line.starts_with("key_hash")).unwrap().to_owned();
    let text = format!("{LEAST}{}", caller("api-key"));
    clean(&text.replace(&hash, key), &[]);
    let found = shown(&text.replace(&hash, "key = \"hunter2\""));
    assert!(found.contains("secret-inline callers[0].key") && !found.contains("hunter2"), "{found}");
    let found = shown(&text.replace(&hash, "key = { env = \"IAM_PASSWORD\" }"));
    assert!(found.contains("bad-value callers[0].key: the key has fewer than 32 characters"), "{found}");
    let other = caller("api-key").replace("\"job\"", "\"other\"").replace(&hash, key);
    let found = shown(&format!("{}{other}", text.replace(&hash, key)));
    assert!(found.contains("callers[1].key: another caller has the same key"), "{found}");
}

#[test]
fn what_is_no_hash_may_be_the_key_and_is_not_shown() {
    let text = caller("api-key").replace("sha256:", "rgk_hunter2");
    let source = Source::new("gateway.toml", format!("{LEAST}{text}"));
    let none: [(&str, &str); 0] = [];
    let faults = load(&source, &Environment::new(none), GENERATIONS).unwrap_err().render_human(false);
    assert!(faults.contains("secret-inline") && !faults.contains("hunter2"), "{faults}");
}

#[test]
fn a_listener_that_others_can_reach_knows_its_callers() {
    let remote = "[listen]\napi = \"0.0.0.0:8080\"\n";
    let known = format!("{remote}{LEAST}{}", caller("api-key"));
    assert_eq!(shown(&known), "2:7 cleartext listen.api: http without tls");
    let found = shown(&known.replace("type =", "listeners = [\"admin\"]\ntype ="));
    assert!(found.contains("other machines can reach 0.0.0.0:8080, and it has no callers"), "{found}");
    let tls = "[tls]\ncertificate_file = \"tls.crt\"\nkey = { env = \"HOOK_SECRET\" }\n";
    clean(&format!("{known}{tls}"), &[]);
}

#[test]
fn s53_s60_a_protection_that_is_taken_away_is_a_warning() {
    let remote = "[listen]\napi = \"0.0.0.0:8081\"\nallow_unauthenticated_remote = true\n";
    let found = shown(&format!("{remote}{LEAST}"));
    assert!(
        found.contains(
            "remote-listen listen.allow_unauthenticated_remote: other machines can reach listen.api"
        ),
        "{found}"
    );
    // The switch alone permits nothing.
    clean(&format!("[listen]\nallow_unauthenticated_remote = true\n{LEAST}"), &[]);
    for (url, weak) in [
        ("postgres://u@db.internal/g", None),
        ("postgres://u@db.internal/g?sslmode=verify-ca", None),
        ("postgres://u@127.0.0.1/g?sslmode=disable", None),
        ("postgres://u@db.internal/g?sslmode=disable", Some("travel in clear")),
        ("postgres://u@db.internal/g?sslmode=allow", Some("may travel in clear")),
        ("postgres://u@db.internal/g?sslmode=prefer", Some("may travel in clear")),
        ("postgres://u@db.internal/g?sslmode=require", Some("does not check whose certificate")),
    ] {
        let found = shown(&format!("[ledger]\nurl = \"{url}\"\n{LEAST}"));
        assert_eq!(weak.is_some(), found.contains("ledger.url"), "{url}: {found}");
        assert!(weak.is_none_or(|words| found.contains(words)), "{url}: {found}");
    }
    let clear = LEAST.replace("https://", "http://");
    assert!(shown(&clear).contains("cleartext upstreams[0].endpoint: http without tls"), "{}", shown(&clear));
    for (endpoint, warns) in
        [("http://collector:4318", true), ("http://127.0.0.1:4318", false), ("https://otel.example", false)]
    {
        let found = shown(&format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n{LEAST}"));
        assert_eq!(warns, found.contains("cleartext telemetry.otlp_endpoint"), "{endpoint}: {found}");
    }
}

#[test]
fn what_the_gateway_holds_is_not_for_strangers() {
    let held = LEAST.replace("generation =", "credential = \"robot\"\ngeneration =");
    let remote = "[listen]\napi = \"0.0.0.0:8080\"\nallow_unauthenticated_remote = true\n";
    let found = shown(&format!("{remote}{held}{CREDENTIAL}"));
    assert!(found.contains("with the gateway's own credentials"), "{found}");
    let found = shown(&format!("{remote}{held}{CREDENTIAL}{}", caller("api-key")));
    assert_eq!(found, "2:7 cleartext listen.api: http without tls");
}

#[test]
fn tls_is_whole_or_not_there() {
    for (tls, why) in [
        ("certificate_file = \"tls.crt\"", "`tls.certificate_file` needs `tls.key`"),
        ("key = { env = \"HOOK_SECRET\" }", "`tls.key` needs `tls.certificate_file`"),
        ("client_crl_file = \"clients.crl\"", "`tls.client_crl_file` needs `tls.client_ca_file`"),
        ("allow_expired_crl = true", "there are no revocation lists that could be past their date"),
        ("client_auth = \"required\"", "client certificates are required, but tls.client_ca_file is absent"),
    ] {
        let found = shown(&format!("[tls]\n{tls}\n{LEAST}"));
        assert!(found.contains(why), "{found}");
    }
    let mtls = caller("mtls");
    let bare = &mtls[mtls.find("[[callers]]").unwrap()..];
    assert!(shown(&format!("{LEAST}{bare}")).contains("no client certificate is ever asked for"));
    let dated = mtls.replace("client_crl_file", "allow_expired_crl = true\nclient_crl_file");
    let warning = shown(&format!("{LEAST}{dated}"));
    assert!(warning.contains("revocation-expired tls.allow_expired_crl: client certificates"), "{warning}");
    let clear = caller("jwt").replace("https://login.example/keys", "http://login.example/keys");
    assert!(shown(&format!("{LEAST}{clear}")).contains("cleartext callers[0].jwks_url: http without tls"));
}
