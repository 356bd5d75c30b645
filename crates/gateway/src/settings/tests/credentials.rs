use super::{CREDENTIAL, LEAST, clean, read};

/// What a person sees of the faults of a text.
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
    let settings = clean(&format!("{}{CREDENTIAL}", held()), &[]);
    assert_eq!(settings.upstreams[0].credential, "robot");
    assert_eq!(settings.credentials[0].password.expose(), "example-only");
    assert!(!format!("{:?}{}", settings, settings.to_json()).contains("example-only"));
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

#[test]
fn what_the_gateway_holds_is_not_for_strangers() {
    let text = format!("[listen]\ndangerous_allow_remote = true\n{}{CREDENTIAL}", held());
    let found = shown(&text);
    assert!(found.contains("with the gateway's own credentials"), "{found}");
}
