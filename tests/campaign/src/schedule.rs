//! The schedules of the campaign with processes, drawn from a seed. Setups, requests and faults are those of the campaign
//! in virtual time; lengths are short, because here they pass.

use fastrand::Rng;
use restore_engine::crash;
use serde_json::{Value, json};

use crate::Store;
use crate::simulation::schedule::{Ask, DISKS, Place, Setup, Way, What, Who, ask, closed, ended, faults};
use crate::simulation::schedule::{ids, unusual_end};

/// One step.
#[expect(missing_docs, reason = "the variants say what their members are")]
#[derive(Clone, Debug)]
pub enum Step {
    /// Submits a restore.
    Submit { ask: Ask, replica: usize },
    /// Repeats the submit of this number, as clients do after 502, 504 and silence.
    Again { of: usize, replica: usize },
    /// Polls one of the latest restores with its caller's token.
    Poll { nth: usize, replica: usize },
    /// Reads the list, which makes nobody any wiser and must hurt nobody.
    Look { replica: usize },
    /// Asks whether a restore could be made.
    Check { ask: Ask, replica: usize },
    /// So many checks a second, for so many seconds, by a caller who does nothing else.
    Crowd { replica: usize, a_second: u32, seconds: u32 },
    /// Cancels the latest restore.
    Cancel { replica: usize },
    /// An operator inspects the clouds and decides each restore that needs one.
    Operate { replica: usize },
    /// An operator ends recovery mode.
    Confirm { replica: usize },
    /// SIGKILL.
    Kill { replica: usize },
    /// Starts a replica that is dead; perhaps to die or stop at a named point, perhaps in recovery mode.
    Start { replica: usize, crash: Option<String>, recovery: bool },
    /// SIGSTOP, and SIGCONT after so long.
    Freeze { replica: usize, millis: u64 },
    /// SIGCONT, for one that stopped at a point.
    Thaw { replica: usize },
    /// PostgreSQL is killed, and started after so long.
    DatabaseAway { millis: u64 },
    /// Another program holds the write lock of the SQLite file for so long.
    Locked { millis: u64 },
    /// The gateway ends, and its SQLite file is deleted before it starts again.
    Delete { killed: bool },
    /// The replica loads this version of its configuration.
    Reload { replica: usize, version: u8 },
    /// The clouds, and the proxies before them, play these faults next.
    Faults(Value),
    /// The clouds change.
    World(Value),
    /// Time passes.
    Wait { millis: u64 },
}

/// What is played.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How everything is set up.
    pub setup: Setup,
    /// What happens.
    pub steps: Vec<Step>,
}

/// The schedule of a seed.
#[must_use]
pub fn draw(seed: u64, store: Store) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let mut setup = setup(&mut rng, store);
    let mut steps = Vec::new();
    match rng.u8(..100) {
        0..=2 => key_window(&mut rng, &mut setup, &mut steps),
        3..=5 => crowd(&mut rng, &mut setup, &mut steps),
        6..=15 if store == Store::Postgres => late_replica(&mut rng, &mut setup, &mut steps),
        6..=8 => locked_for_long(&mut rng, &mut setup, &mut steps),
        _ => anything(&mut rng, &setup, &mut steps),
    }
    Schedule { setup, steps }
}

fn setup(rng: &mut Rng, store: Store) -> Setup {
    let way = match rng.u8(..10) {
        0..=3 => Way::Classic,
        4..=6 => Way::Apart,
        7 | 8 => Way::Around,
        _ => Way::TwoNames,
    };
    let mut world = json!({
        "cbr_202": *rng.choice(&["empty", "empty", "chunked_empty", "job_id", "html"]).unwrap_or(&"empty"),
        "cbr_oplog_lag_seconds": u8::from(rng.u8(..) < 40),
        "cbr_oplog_restore_block": rng.u8(..) >= 30,
        "cbr_oplog_own_request_id": rng.bool(),
        "csbs_restores_read": rng.bool(),
        "restore_seconds": 1,
        "time_format": if rng.bool() { "otc" } else { "hwc" },
    });
    if way == Way::Apart {
        world["volumes"] = json!({ids::SYSTEM.1: {"detached": true}, ids::DATA.1: {"detached": true}});
    }
    Setup {
        place: if store == Store::Postgres { Place::Shared } else { Place::File },
        way,
        held: rng.bool(),
        // The shortest that configuration may have.
        key_window: 60,
        duplicate_window: *rng.choice(&[1, 1, 5, 10]).unwrap_or(&1),
        retention: None,
        settle: 1,
        unknown: *rng.choice(&[3, 4]).unwrap_or(&3),
        overdue: *rng.choice(&[2, 20]).unwrap_or(&2),
        polls_per_minute: *rng.choice(&[0, 600]).unwrap_or(&600),
        world,
        offsets: [0, 0],
        ends: rng.u8(..) < 10,
        baseline: rng.u8(..) >= 80,
        history: rng.u8(..) < 100,
        crowd: false,
    }
}

fn start(replica: usize) -> Step {
    Step::Start { replica, crash: None, recovery: false }
}

/// Requests of all kinds while processes die, stop and reload, and clouds and proxies answer in their ways.
fn anything(rng: &mut Rng, setup: &Setup, steps: &mut Vec<Step>) {
    let replicas = setup.replicas();
    for replica in 0..replicas {
        let crash = rng.bool().then(|| crash_point(rng, setup));
        steps.push(Step::Start { replica, crash, recovery: false });
    }
    if setup.way == Way::Around {
        steps.push(Step::Faults(closed()));
    } else if rng.u8(..) < 160 {
        steps.push(Step::Faults(faults(rng)));
    }
    let mut submits = 0;
    for _ in 0..rng.usize(8..24) {
        steps.push(step(rng, setup, &mut submits));
        if rng.bool() {
            steps.push(Step::Wait { millis: rng.u64(0..120) });
        }
    }
    if setup.ends {
        steps.push(Step::Faults(ended()));
    }
}

fn step(rng: &mut Rng, setup: &Setup, submits: &mut usize) -> Step {
    let replica = rng.usize(..setup.replicas());
    let shared = setup.place == Place::Shared;
    match rng.u8(..120) {
        0..=34 => {
            *submits += 1;
            Step::Submit { ask: ask(rng, setup.way), replica }
        }
        35..=54 if *submits > 0 => Step::Again { of: rng.usize(..*submits), replica },
        35..=59 => Step::Look { replica },
        60..=63 => Step::Cancel { replica },
        64..=69 => Step::Kill { replica },
        70..=79 => {
            let crash = (rng.u8(..) < 100).then(|| crash_point(rng, setup));
            Step::Start { replica, crash, recovery: rng.u8(..) < 12 }
        }
        80..=84 => Step::Freeze { replica, millis: *rng.choice(&[200, 1_500, 4_500]).unwrap_or(&200) },
        85..=87 if shared => Step::DatabaseAway { millis: rng.u64(200..2_500) },
        85..=87 => Step::Locked { millis: rng.u64(200..2_500) },
        88..=91 if shared => Step::Thaw { replica },
        88..=89 if rng.bool() => Step::Delete { killed: rng.bool() },
        88..=99 if setup.way != Way::Around => Step::Faults(faults(rng)),
        100..=102 => Step::Reload { replica, version: rng.u8(..4) },
        103..=105 => Step::Operate { replica },
        106 | 107 => Step::Confirm { replica },
        108 | 109 => Step::Check { ask: ask(rng, setup.way), replica },
        110..=112 => Step::Poll { nth: rng.usize(..8), replica },
        113 | 114 => Step::World(unusual_end(rng, 2)),
        _ => Step::Wait { millis: rng.u64(10..800) },
    }
}

/// A restore of several disks, or by a fallback, or of one disk: what can be interrupted.
fn interrupted(rng: &mut Rng, setup: &mut Setup) -> Ask {
    setup.ends = false;
    setup.overdue = 20;
    let what = match setup.way {
        Way::Apart => What::CbrServer,
        Way::Around => What::CsbsServer,
        Way::Classic | Way::TwoNames => What::Disk(rng.u32(..DISKS)),
    };
    Ask { who: Who::Alice, what, key: rng.bool().then_some(0) }
}

/// A replica stops just before or just after its send, another takes its restores over and ends them, and the first
/// continues.
fn late_replica(rng: &mut Rng, setup: &mut Setup, steps: &mut Vec<Step>) {
    let ask = interrupted(rng, setup);
    // The other one can go on by itself.
    setup.held = true;
    // The point that only the last check before the send stands behind comes first.
    let point = match rng.u8(..8) {
        0..=3 => "first_byte",
        4 => "accepted",
        5 => "submitting",
        6 => "answered",
        _ => "progress",
    };
    let time = if setup.way == Way::Apart { rng.u8(1..3) } else { 1 };
    let crash = Some(format!("{point}:{time}/STOP"));
    steps.push(Step::Start { replica: 0, crash, recovery: false });
    steps.push(start(1));
    if setup.way == Way::Around {
        steps.push(Step::Faults(closed()));
    }
    steps.push(Step::Submit { ask, replica: 0 });
    if rng.bool() {
        steps.push(Step::Wait { millis: rng.u64(300..1_500) });
        steps.push(Step::Freeze { replica: 0, millis: 9_000 });
    }
    steps.push(Step::Wait { millis: rng.u64(7_000..9_500) });
    steps.push(Step::Operate { replica: 1 });
    if rng.bool() {
        steps.push(Step::Again { of: 0, replica: 1 });
    }
    steps.push(Step::Thaw { replica: 0 });
    steps.push(Step::Wait { millis: 1_000 });
}

/// The file is locked for longer than a writer waits, in the middle of a restore.
fn locked_for_long(rng: &mut Rng, setup: &mut Setup, steps: &mut Vec<Step>) {
    let ask = interrupted(rng, setup);
    steps.push(start(0));
    if setup.way == Way::Around {
        steps.push(Step::Faults(closed()));
    }
    steps.push(Step::Submit { ask, replica: 0 });
    steps.push(Step::Wait { millis: rng.u64(10..1_500) });
    steps.push(Step::Locked { millis: 6_500 });
    steps.push(Step::Wait { millis: 7_000 });
    steps.push(Step::Again { of: 0, replica: 0 });
    steps.push(Step::Operate { replica: 0 });
}

/// A key is repeated long after it came in: within its window, or past it, or while its restore still runs.
fn key_window(rng: &mut Rng, setup: &mut Setup, steps: &mut Vec<Step>) {
    let long = rng.bool();
    // A fallback takes a second route within the window of its key.
    if rng.u8(..4) > 0 {
        setup.way = Way::Around;
        setup.world["volumes"] = json!({});
    }
    setup.ends = false;
    setup.overdue = 200;
    setup.unknown = 4;
    setup.world["restore_seconds"] = json!(if long { 67 } else { 1 });
    for replica in 0..setup.replicas() {
        steps.push(start(replica));
    }
    if setup.way == Way::Around {
        steps.push(Step::Faults(closed()));
    }
    let what = if setup.way == Way::Around { What::CsbsServer } else { What::Disk(1) };
    let replica = rng.usize(..setup.replicas());
    steps.push(Step::Submit { ask: Ask { who: Who::Alice, what, key: Some(0) }, replica });
    for millis in if long { [64_000, 6_000] } else { [57_000, 6_000] } {
        steps.push(Step::Wait { millis });
        steps.push(Step::Again { of: 0, replica });
    }
}

/// One caller checks over and over while another restores, and nothing goes wrong.
fn crowd(rng: &mut Rng, setup: &mut Setup, steps: &mut Vec<Step>) {
    *setup = Setup {
        way: if rng.bool() { Way::Classic } else { Way::TwoNames },
        polls_per_minute: 120,
        ends: false,
        crowd: true,
        overdue: 60,
        world: json!({"restore_seconds": 1}),
        ..setup.clone()
    };
    for replica in 0..setup.replicas() {
        steps.push(start(replica));
    }
    steps.push(Step::Crowd { replica: 0, a_second: 24, seconds: 24 });
    steps.push(Step::Wait { millis: 2_000 });
    for disk in 0..2 {
        let ask = Ask { who: Who::Alice, what: What::Disk(disk), key: None };
        steps.push(Step::Submit { ask, replica: 0 });
        steps.push(Step::Wait { millis: rng.u64(0..500) });
    }
    steps.push(Step::Wait { millis: 20_000 });
}

fn crash_point(rng: &mut Rng, setup: &Setup) -> String {
    let point = rng.choice(crash::POINTS).unwrap_or(crash::POINTS[0]);
    // Where another replica may take over meanwhile, one that only stops is worse than one that dies.
    let signal = if setup.place == Place::Shared && rng.u8(..) < 100 { "/STOP" } else { "" };
    format!("{point}:{}{signal}", rng.u8(1..4))
}
