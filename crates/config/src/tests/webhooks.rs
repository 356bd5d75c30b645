//! Permitted receivers of webhooks.

use super::{HOOK, HOOK_SECRET, LEAST, clean, faults};

fn with(change: &str, to: &str) -> Vec<String> {
    let hook = HOOK.replace(change, to);
    assert_ne!(hook, HOOK);
    faults(&format!("{LEAST}{hook}"), &[])
}

fn receiver(url: &str) -> Vec<String> {
    with("https://hooks.example.com/restores", url)
}

#[test]
fn a_webhook_has_its_defaults() {
    let config = clean(&format!("{LEAST}{HOOK}"), &[]);
    let [hook] = &*config.webhooks else { panic!("{:?}", config.webhooks) };
    assert_eq!((hook.name.as_str(), hook.secret.expose()), ("ops", HOOK_SECRET));
    assert_eq!((&hook.events, &hook.project_ids), (&None, &None));
    assert_eq!((hook.timeout_seconds.as_secs(), hook.allow_private_addresses), (15, false));
    assert_eq!(config.to_json()["webhooks"][0]["secret"], "<redacted>");
}

#[test]
fn a_private_receiver_must_be_meant() {
    let private =
        "12:7 private-receiver webhooks[0].url: the receiver is on this machine or in a private network";
    for url in [
        "https://127.0.0.1/",
        "https://[::1]:8443/",
        "https://10.1.2.3/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://localhost/",
    ] {
        assert_eq!(receiver(url), [private], "{url}");
    }
    assert_eq!(receiver("http://hooks.example.com/"), ["12:7 cleartext webhooks[0].url: http without tls"]);
    assert!(receiver("https://8.8.8.8/").is_empty());
    for url in ["http://127.0.0.1:9000/", "https://10.0.0.1/", "http://hooks.internal/"] {
        let hook =
            HOOK.replace("https://hooks.example.com/restores", url) + "allow_private_addresses = true\n";
        let found = faults(&format!("{LEAST}{hook}"), &[]);
        let [warning] = &found[..] else { panic!("{found:?}") };
        assert!(warning.contains("private-receiver webhooks[0].allow_private_addresses"), "{warning}");
    }
}

#[test]
fn a_secret_that_signs_has_its_form_and_is_not_shown() {
    let text = format!("{LEAST}{HOOK}");
    for (secret, why) in [
        ("whsec_c2hvcnQ=", "has not 24 to 64 bytes"),
        ("correct horse battery staple", "is not base64 after `whsec_`"),
    ] {
        let variables = [("OTHER", secret), ("RESTORE_GATEWAY_WEBHOOKS__0__SECRET", "env:OTHER")];
        let faults = super::read(&text, &variables).unwrap_err();
        let shown = format!("{faults:?}{}{}", faults.render_human(false), faults.render_json());
        assert!(shown.contains(&format!("the secret {why}")) && !shown.contains(secret), "{shown}");
    }
}

#[test]
fn hooks_are_told_apart_and_told_what_there_is() {
    assert_eq!(
        faults(&format!("{LEAST}{HOOK}{HOOK}"), &[]),
        ["16:8 duplicate-name webhooks[1].name: `ops` is the name of `webhooks[0]` already"]
    );
    let events = with("[[webhooks]]", "[[webhooks]]\nevents = [\"done\"]");
    assert_eq!(events, ["11:10 bad-value webhooks[0].events: `done` is not allowed here"]);
    let hook = HOOK.to_owned() + "events = [\"succeeded\", \"needs_operator\"]\nproject_ids = [\"p\"]\n";
    let config = clean(&format!("{LEAST}{hook}"), &[]);
    assert_eq!(config.webhooks[0].events, Some(vec!["succeeded".to_owned(), "needs_operator".to_owned()]));
}

/// S60: the path of a receiver often is its credential.
#[test]
fn s60_the_path_of_a_receiver_is_shown_nowhere() {
    let secret = "T0123/B456/hunter2hunter2";
    let text = format!(
        "{LEAST}{}",
        HOOK.replace("hooks.example.com/restores", &format!("hooks.example.com/{secret}"))
    );
    let config = clean(&text, &[]);
    assert_eq!(config.webhooks[0].url.expose().path(), format!("/{secret}"));
    assert_eq!(config.to_json()["webhooks"][0]["url"], "https://hooks.example.com/<redacted>");
    assert!(!format!("{:?}", config.webhooks[0].url).contains("hunter2"));
    // A different path is still a change.
    let other = clean(&text.replace("hunter2hunter2", "another"), &[]);
    assert_eq!(crate::read_at_start(&config, &other), ["webhooks"]);
    // Errors do not show the line either.
    for wrong in
        [text.replace("https://hooks", "http://hooks"), text.replace("[[webhooks]]", "[[webhooks]]\nodd = 1")]
    {
        let faults = super::read(&wrong, &[]).unwrap_err();
        let shown = format!("{faults:?}{}{}", faults.render_human(false), faults.render_json());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
