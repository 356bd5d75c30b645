//! Secrets are references, are found in the file, and are never shown.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{GENERATIONS, LEAST, clean, faults, read};
use crate::{Environment, Source, load};

/// Returns a configuration with the ledger's password at this location.
fn with(reference: &str) -> String {
    format!("[ledger]\npassword = {reference}\n{LEAST}")
}

fn file(folder: &Path, text: &[u8], mode: u32) -> PathBuf {
    let path = folder.join("secret");
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_secret_comes_from_a_variable_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let from_file = |text: &[u8]| {
        let path = file(folder.path(), text, 0o640);
        clean(&with(&format!("{{ file = {path:?} }}")), &[]).ledger.password.unwrap()
    };
    assert_eq!(from_file(b"hunter2").expose(), "hunter2");
    assert_eq!(from_file(b"hunter2\n").expose(), "hunter2");
    assert_eq!(from_file(b"hunter2\r\n").expose(), "hunter2");
    assert_eq!(from_file(b" hunter2 \n\n").expose(), " hunter2 \n");
    for name in ["PGPASSWORD", "RESTORE_GATEWAY_PASSWORD"] {
        let config = clean(&with(&format!("{{ env = \"{name}\" }}")), &[(name, "hunter2")]);
        assert_eq!(config.ledger.password.as_ref().unwrap().expose(), "hunter2");
        let shown = format!("{config:?}{:#}", config.to_json());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(config.to_json()["ledger"]["password"], "<redacted>");
    }
    // Like every key, it has a variable, which contains a reference, too.
    let twin = [("RESTORE_GATEWAY_LEDGER__PASSWORD", "env:PGPASSWORD"), ("PGPASSWORD", "hunter2")];
    assert_eq!(clean(LEAST, &twin).ledger.password.unwrap().expose(), "hunter2");
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o644, 0o660, 0o604, 0o777, 0o601] {
        let path = file(folder.path(), b"hunter2", mode);
        let found = faults(&with(&format!("{{ file = {path:?} }}")), &[]);
        let shown = path.display();
        assert_eq!(
            found,
            [format!(
                "2:12 secret-exposed ledger.password: the file {shown} has the mode {mode:04o}, and 0640 is the widest for a secret"
            )]
        );
    }
    for mode in [0o600, 0o400, 0o440, 0o640] {
        let path = file(folder.path(), b"hunter2", mode);
        clean(&with(&format!("{{ file = {path:?} }}")), &[]);
    }
}

#[test]
fn a_secret_that_is_not_there_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |reference: &str| faults(&with(reference), &[("EMPTY", "")]).join("\n");
    assert_eq!(
        fault("{ env = \"NOWHERE\" }"),
        "2:12 secret-missing ledger.password: the variable NOWHERE is not set"
    );
    assert_eq!(fault("{ env = \"EMPTY\" }"), "2:12 secret-missing ledger.password: the secret is empty");
    let path = file(folder.path(), b"\n", 0o600);
    assert!(fault(&format!("{{ file = {path:?} }}")).ends_with("the secret is empty"));
    let path = file(folder.path(), &[0xff, 0xfe], 0o600);
    assert!(fault(&format!("{{ file = {path:?} }}")).contains("cannot be read"));
    let path = file(folder.path(), &[b'x'; 70_000], 0o600);
    assert!(fault(&format!("{{ file = {path:?} }}")).ends_with("has more than 65536 bytes"));
    assert!(fault("{ file = \"/nowhere/at/all\" }").contains("cannot be read"));
    assert!(fault(&format!("{{ file = {:?} }}", folder.path())).ends_with("is not a file"));
}

#[test]
fn what_is_no_reference_may_be_the_secret_and_is_not_shown() {
    let twin = [("RESTORE_GATEWAY_LEDGER__PASSWORD", "hunter2")];
    let twin_of_file = [("RESTORE_GATEWAY_LEDGER__PASSWORD", "hunter2:x")];
    for faults in [
        read(&with("\"hunter2\""), &[]),
        read(&with("{ env = \"\", file = \"hunter2\" }"), &[]),
        read(&with("{ value = \"hunter2\" }"), &[]),
        read(LEAST, &twin),
        read(LEAST, &twin_of_file),
    ] {
        let faults = faults.unwrap_err();
        let shown = format!("{faults:?}{}{}", faults.render_human(false), faults.render_json());
        assert!(shown.contains("secret-inline") && !shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("write `{ env = "), "{shown}");
    }
}

#[test]
fn a_postgresql_url_names_a_user_and_no_password() {
    for url in [
        "postgres://me@db/restores",
        "postgresql://me@db.internal:5433/restores?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem",
        "postgres://me@[::1]:5432/restores",
        "postgres://me@/restores?host=/run/postgresql",
    ] {
        let config = clean(&format!("[ledger]\nurl = \"{url}\"\n{LEAST}"), &[]);
        assert_eq!(config.to_json()["ledger"]["url"], url);
    }
}

/// S59: not every user may write the trusted files and the ledger.
#[test]
fn s59_a_file_that_everybody_can_write_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.db");
    let text = format!("[ledger]\nurl = \"sqlite:{}\"\n{LEAST}", ledger.display());
    clean(&text, &[]);
    for (name, mode, warns) in [
        ("ledger.db", 0o600, false),
        ("ledger.db", 0o640, false),
        ("ledger.db", 0o644, true),
        ("ledger.db", 0o666, true),
        ("ledger.db.lock", 0o666, true),
        ("ledger.db-wal", 0o644, true),
        ("ledger.db-shm", 0o606, true),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        set_mode(&path, mode);
        let found = faults(&text, &[]).join("\n");
        assert_eq!(warns, found.contains("file-exposed ledger.url"), "{name} {mode:o}: {found}");
        set_mode(&path, 0o600);
    }
    let keys = file(folder.path(), b"{}", 0o664);
    let caller = super::caller("jwt")
        .replace("jwks_url = \"https://login.example/keys\"", &format!("jwks_file = {keys:?}"));
    clean(&format!("{LEAST}{caller}"), &[]);
    set_mode(std::path::Path::new(&keys), 0o666);
    let found = faults(&format!("{LEAST}{caller}"), &[]).join("\n");
    assert!(found.contains("file-exposed callers[0].jwks_file"), "{found}");
    let pairs = folder.path().join("pairs.csv");
    std::fs::write(&pairs, "from,from_id,to,to_id\n").unwrap();
    set_mode(&pairs, 0o666);
    let found = faults(&format!("[id_mapping]\nfile = {pairs:?}\n{LEAST}"), &[]).join("\n");
    assert!(found.contains("file-exposed id_mapping.file"), "{found}");
    // The configuration file itself.
    for (mode, warns) in [(0o644, false), (0o666, true)] {
        let source = Source { mode: Some(mode), ..Source::new("gateway.toml", LEAST) };
        let none: [(&str, &str); 0] = [];
        let (_, faults) = load(&source, &Environment::new(none), GENERATIONS).unwrap();
        assert_eq!(warns, faults.render_human(false).contains("gateway.toml has the mode"), "{mode:o}");
    }
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
