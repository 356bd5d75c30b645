//! The campaign in virtual time: that it plays a seed the same way each time, and a short run of it.

use restore_campaign::simulation::run;

/// Schedules of the short run. `./dev ci` plays more, from a fresh seed.
const SCHEDULES: u64 = 300;

/// Seeds that once broke a promise; README.md says which.
const BROKEN: [u64; 9] =
    [109_934, 110_490, 2_014_480, 5_040_684, 6_038_727, 6_068_144, 9_014_799, 9_052_101, 9_070_817];

#[test]
fn seeds_that_broke_a_promise_stay_fixed() {
    for seed in BROKEN {
        if let Err(why) = run(seed).judged {
            panic!("{why}\nwith its trace: ./dev campaign virtual --schedules 1 --seed {seed}");
        }
    }
}

#[test]
fn a_seed_is_played_the_same_way_again() {
    let played = |seeds: std::ops::Range<u64>| seeds.map(|seed| run(seed).hash).collect::<Vec<_>>();
    // At the same time, so that what each machine's thread does differs.
    let (first, again) = std::thread::scope(|scope| {
        let first = scope.spawn(|| played(1..80));
        let again = scope.spawn(|| played(1..80));
        (first.join().expect("it is played"), again.join().expect("it is played"))
    });
    for (seed, (first, again)) in (1..).zip(first.iter().zip(&again)) {
        assert_eq!(first, again, "seed {seed}");
    }
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), first.len(), "each is another");
}

#[test]
fn every_promise_is_kept() {
    for seed in 1..=SCHEDULES {
        if let Err(why) = run(seed).judged {
            panic!("{why}\nwith its trace: ./dev campaign virtual --schedules 1 --seed {seed}");
        }
    }
}
