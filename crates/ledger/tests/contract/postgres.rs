//! What only a database must do: be away and come back, be reached over TLS and with a password,
//! change under running programs, come out of a dump.

use std::time::{Duration, Instant};

use restore_ledger::{
    Accept, Claim, Ledger, LedgerError, LedgerUrl, OpenOptions, Position, open, open_to_read, vacuum,
};
use restore_model::EventKind;
use restore_test_postgres::{Postgres, Setup};
use secrecy::SecretString;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::support::{ask, at, new_database, push, server_of_all, succeed, take, told, unfinished, volume};

/// Longer than any call may take while the database is away.
const SOON: Duration = Duration::from_secs(8);

pub(crate) async fn raw(url: &LedgerUrl) -> PgConnection {
    PgConnection::connect(&url.to_string()).await.unwrap()
}

fn why(error: LedgerError) -> String {
    match error {
        LedgerError::Unavailable(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_unavailable_at_once_and_works_when_it_is_back() {
    let server = Postgres::start();
    let url = new_database(&server);
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    for end in [Postgres::stop, Postgres::kill] {
        end(&server);
        let begin = Instant::now();
        let (asked, ready, read, claimed) = tokio::join!(
            ledger.accept(ask("ann", None, volume("v2"), 1)),
            ledger.ready(),
            ledger.get(entry.intent.id),
            ledger.claim(Claim::All, 9),
        );
        assert!(matches!(asked, Err(LedgerError::Unavailable(_))), "{asked:?}");
        assert!(matches!(ready, Err(LedgerError::Unavailable(_))), "{ready:?}");
        assert!(matches!(read, Err(LedgerError::Unavailable(_))), "{read:?}");
        assert!(matches!(claimed, Err(LedgerError::Unavailable(_))), "{claimed:?}");
        // Many at once are not refused one after the other.
        let many = (0..600).map(|n| ledger.accept(ask("ann", None, volume(&format!("w{n}")), n)));
        let many = futures_util::future::join_all(many).await;
        assert!(many.iter().all(|asked| matches!(asked, Err(LedgerError::Unavailable(_)))));
        assert!(begin.elapsed() < 2 * SOON, "{:?}", begin.elapsed());

        server.start_again();
        ledger.ready().await.unwrap();
        assert_eq!(ledger.get(entry.intent.id).await.unwrap().as_ref(), Some(&entry));
        assert!(ledger.take(entry.intent.id).await.unwrap(), "it was not away for longer than its lease");
    }
    push(&*ledger, &entry, 2, vec![EventKind::Submitting { attempt: 1, step: 0 }]).await;
    let refused = open(&"postgres://postgres@127.0.0.1:1/db".parse().unwrap(), OpenOptions::default()).await;
    assert!(why(refused.err().unwrap()).contains("127.0.0.1:1"));
    ledger.close().await;
    assert!(why(ledger.ready().await.unwrap_err()).contains("closed"));
}

#[tokio::test]
async fn a_password_opens_and_is_never_shown() {
    const PASSWORD: &str = "correct-horse-battery";
    let server = Postgres::start_as(&Setup { password: Some(PASSWORD.to_owned()), tls: None });
    let url = new_database(&server);
    let with = |password: Option<&str>| {
        let mut options = OpenOptions::default();
        options.password = password.map(SecretString::from);
        options
    };
    assert!(!format!("{:?}", with(Some(PASSWORD))).contains(PASSWORD));
    for wrong in [None, Some("wrong-horse-battery")] {
        let error = open(&url, with(wrong)).await.err().unwrap();
        let said = format!("{error} {error:?}");
        assert!(said.contains("password authentication failed") && !said.contains("horse"), "{said}");
    }
    let ledger = restore_ledger::postgres::PostgresLedger::open(
        match &url {
            LedgerUrl::Postgres(url) => url,
            other => panic!("{other}"),
        },
        with(Some(PASSWORD)),
    )
    .await
    .unwrap();
    assert!(!format!("{ledger:?}").contains("horse"), "{ledger:?}");
    take(&ledger, ask("ann", None, volume("v1"), 0)).await;
    server.stop();
    let said = [
        format!("{:?}", ledger.ready().await.unwrap_err()),
        format!("{:?}", ledger.list(restore_ledger::Query::default()).await.unwrap_err()),
    ];
    assert!(said.iter().all(|said| !said.contains("horse")), "{said:?}");
}

#[tokio::test]
async fn tls_is_verified_against_the_given_root() {
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), rcgen::Issuer::new(params, key))
    };
    let ((root, issuer), (stranger, _)) = (authority("right"), authority("wrong"));
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let tls = Some((certificate.pem(), key.serialize_pem()));
    let server = Postgres::start_as(&Setup { password: None, tls });
    let url = new_database(&server);
    let folder = tempfile::TempDir::new().unwrap();
    let with = |query: &str| format!("{url}?{query}").parse::<LedgerUrl>().unwrap();
    let root_in = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let (root, stranger) = (root_in("root.pem", &root), root_in("stranger.pem", &stranger));

    let ledger = open(&with(&format!("sslmode=verify-full&sslrootcert={root}")), OpenOptions::default())
        .await
        .unwrap();
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    assert_eq!(ledger.get(entry.intent.id).await.unwrap(), Some(entry));
    ledger.close().await;
    for untrusted in [format!("sslmode=verify-full&sslrootcert={stranger}"), "sslmode=verify-full".to_owned()]
    {
        let error = open(&with(&untrusted), OpenOptions::default()).await.err().unwrap();
        assert!(why(error).contains("certificate"), "{untrusted}");
    }
    // The certificate is for the address, not for this name of it.
    let by_name = with(&format!("sslmode=verify-full&sslrootcert={root}"))
        .to_string()
        .replace("127.0.0.1", "localhost");
    assert!(open(&by_name.parse().unwrap(), OpenOptions::default()).await.is_err());
    let unencrypted = open(&with("sslmode=disable"), OpenOptions::default()).await.err().unwrap();
    assert!(why(unencrypted).contains("pg_hba.conf"));
}

#[tokio::test]
async fn a_newer_schema_is_refused_unless_it_has_room_for_older_programs() {
    let url = new_database(server_of_all());
    open(&url, OpenOptions::default()).await.unwrap().close().await;
    let mut connection = raw(&url).await;
    let set = "update meta set value = case name when 'schema_version' then 99 else $1 end
        where name in ('schema_version', 'oldest_reader')";
    sqlx::query(set).bind(98_i64).execute(&mut connection).await.unwrap();
    for refused in [
        open(&url, OpenOptions::default()).await.err().unwrap(),
        open_to_read(&url, OpenOptions::default()).await.err().unwrap(),
    ] {
        let why = why(refused);
        assert!(why.contains("version 99") && why.contains("knows version 98"), "{why}");
    }
    sqlx::query(set).bind(1_i64).execute(&mut connection).await.unwrap();
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
}

#[tokio::test]
async fn a_reader_writes_nothing_and_a_vacuum_runs_beside_a_gateway() {
    let url = new_database(server_of_all());
    for refused in [
        open_to_read(&url, OpenOptions::default()).await.map(|_| ()),
        vacuum(&url, OpenOptions::default()).await,
    ] {
        assert!(why(refused.unwrap_err()).contains("no ledger in this database"));
    }
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let reader = open_to_read(&url, OpenOptions::default()).await.unwrap();
    assert_eq!(reader.get(entry.intent.id).await.unwrap().as_ref(), Some(&entry));
    assert_eq!(told(&*reader, Position::START, 1).await.len(), 1);
    assert!(!reader.lease().is_current());
    for refused in [
        reader.accept(ask("ann", None, volume("v2"), 0)).await.map(|_| ()),
        reader.claim(Claim::All, 1).await.map(|_| ()),
        reader.take(entry.intent.id).await.map(|_| ()),
        reader.reserve_read(entry.intent.id, SOON).await.map(|_| ()),
        reader.set_recovery(None).await,
    ] {
        assert!(why(refused.unwrap_err()).contains("only to be read"));
    }
    succeed(&*ledger, &entry, 1).await;
    ledger.prune(Some(at(9)), at(9), 9).await.unwrap();
    vacuum(&url, OpenOptions::default()).await.unwrap();
    let replicas: i64 =
        sqlx::query_scalar("select count(*) from replicas").fetch_one(&mut raw(&url).await).await.unwrap();
    assert_eq!(replicas, 1, "neither is one that shares the ledger");
}

#[tokio::test]
async fn what_is_kept_is_kept_from_everyone() {
    let url = new_database(server_of_all());
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let mut connection = raw(&url).await;
    for (statement, word) in [
        ("update events set at = 0", "only ever appended"),
        ("delete from events", "only ever appended"),
        ("delete from restores", "unfinished is never forgotten"),
    ] {
        let error = connection.execute(statement).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

/// One that cannot be read does not spoil the group it is in.
#[tokio::test]
async fn what_cannot_be_read_is_refused_alone() {
    let url = new_database(server_of_all());
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    let spoilt = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    let sound = take(&*ledger, ask("ann", None, volume("v2"), 1)).await;
    sqlx::query("update restores set state = '{}' where id = $1")
        .bind(spoilt.intent.id.to_string())
        .execute(&mut raw(&url).await)
        .await
        .unwrap();
    let checking = |id| ledger.append(id, 1, vec![crate::support::event(2, at(2), EventKind::Checking)]);
    let nul = ask("a\0nn", None, volume("v4"), 2);
    let (spoilt, sound, new, nul) = tokio::join!(
        checking(spoilt.intent.id),
        checking(sound.intent.id),
        ledger.accept(ask("ann", None, volume("v3"), 2)),
        ledger.accept(nul),
    );
    assert!(matches!(spoilt, Err(LedgerError::Corrupt(_))), "{spoilt:?}");
    assert!(matches!(nul, Err(LedgerError::Corrupt(_))), "{nul:?}");
    assert_eq!(sound.unwrap().state.seq, 2);
    assert!(matches!(new, Ok(Accept::New(_))));
}

#[tokio::test]
async fn a_ledger_from_a_dump_is_an_older_copy_whose_feed_continues() {
    let url = new_database(server_of_all());
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
    ledger.close().await;
    // Written under a number this server has not come to yet.
    let mut connection = raw(&url).await;
    let older = "alter table events disable trigger user; update events set tx = tx + 1000000000;
        alter table events enable trigger user";
    connection.execute(older).await.unwrap();
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    let reason = ledger.recovery().await.unwrap().unwrap().reason;
    assert!(reason.contains("copy"), "{reason}");
    let first = told(&*ledger, Position::START, 1).await[0].position;
    let second = take(&*ledger, ask("ann", None, volume("v2"), 1)).await;
    assert_eq!(told(&*ledger, first, 1).await[0].entry, second);
    ledger.set_recovery(None).await.unwrap();
    ledger.close().await;
    let ledger = open(&url, OpenOptions::default()).await.unwrap();
    assert_eq!(ledger.recovery().await.unwrap(), None);
    assert_eq!(unfinished(&*ledger).await.len(), 2);
}

#[tokio::test]
async fn in_another_place_it_is_a_copy_however_far_that_has_counted() {
    for name in ["cluster", "database"] {
        let url = new_database(server_of_all());
        open(&url, OpenOptions::default()).await.unwrap().close().await;
        let ledger = open(&url, OpenOptions::default()).await.unwrap();
        assert_eq!(ledger.recovery().await.unwrap(), None, "in its own place it is itself");
        ledger.close().await;
        let mut connection = raw(&url).await;
        let moved = format!("update meta set value = value + 1 where name = '{name}'");
        connection.execute(sqlx::AssertSqlSafe(moved)).await.unwrap();
        let ledger = open(&url, OpenOptions::default()).await.unwrap();
        let reason = ledger.recovery().await.unwrap().unwrap().reason;
        assert!(reason.contains("copy"), "{reason}");
        ledger.close().await;
    }
}

/// A role or a database may have been made faster at the price of what is committed last.
#[tokio::test]
async fn a_commit_is_on_the_disk_whatever_the_database_is_set_to() {
    const SPY: &str = "create table spied (told text not null);
        create function spy() returns trigger language plpgsql as $$
        begin
          insert into spied values (current_setting('synchronous_commit'));
          return new;
        end $$;
        create trigger spy after insert on events for each row execute function spy();
        create trigger spy after update of next_read on restores for each row execute function spy();";
    for (set, then) in [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
        let url = new_database(server_of_all());
        open(&url, OpenOptions::default()).await.unwrap().close().await;
        let mut raw = raw(&url).await;
        raw.execute(SPY).await.unwrap();
        let database: String =
            sqlx::query_scalar("select current_database()").fetch_one(&mut raw).await.unwrap();
        let alter = format!("alter database {database} set synchronous_commit = {set}");
        raw.execute(sqlx::AssertSqlSafe(alter)).await.unwrap();

        let ledger = open(&url, OpenOptions::default()).await.unwrap();
        let entry = take(&*ledger, ask("ann", None, volume("v1"), 0)).await;
        assert!(ledger.reserve_read(entry.intent.id, Duration::from_secs(60)).await.unwrap());
        ledger.close().await;
        let told: Vec<String> =
            sqlx::query_scalar("select told from spied").fetch_all(&mut raw).await.unwrap();
        assert_eq!(told, [then, then], "a database set to {set}");
    }
}
