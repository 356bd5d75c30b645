//! A short campaign for every run of the tests: fixed seeds, so that a failure can be seen again.

use futures_util::StreamExt as _;
use restore_campaign::{Store, Tally, run};
use restore_test_postgres::Postgres;

/// Plays the schedules, so many at once.
async fn short(store: Store, seeds: std::ops::Range<u64>, postgres: Option<&Postgres>, at_once: usize) {
    let schedules = seeds.map(|seed| run(seed, store, postgres));
    let played: Vec<Result<Tally, String>> =
        futures_util::stream::iter(schedules).buffer_unordered(at_once).collect().await;
    let mut tally = Tally::default();
    for one in played {
        match one {
            Ok(one) => tally.add(&one),
            Err(why) => panic!("{why}"),
        }
    }
    println!("{}: {tally:?}", store.as_str());
    assert!(tally.accepted > 0 && tally.applied > 0, "the schedules do nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_restored_twice_over_sqlite() {
    short(Store::Sqlite, 1..9, None, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_restored_twice_by_two_replicas_over_postgres() {
    // One at a time: schedules kill the database that they share.
    let postgres = Postgres::start();
    short(Store::Postgres, 1..9, Some(&postgres), 1).await;
}
