//! What is played, drawn from a seed: how everything is set up, and what happens when.

use fastrand::Rng;
use restore_engine::crash;
use serde_json::{Value, json};

use super::net::Weather;
use super::process::{Crash, Signal};
use super::store::Plight;

/// Extra disks of the clouds' world.
pub const DISKS: u32 = 4;

/// Where the ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory that outlives the process, as a file does; so many finished restores are kept.
    Alone(usize),
    /// In a SQLite file.
    File,
    /// Shared by two replicas.
    Shared,
}

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Servers through CBR and CSBS, disks through VBS and CBR.
    Classic,
    /// Servers disk by disk through VBS.
    Apart,
    /// Through CSBS and VBS, which are closed to the project, and then through CBR.
    Around,
    /// Disks through CBR, under two names.
    TwoNames,
}

/// How a simulation is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the ledger is.
    pub place: Place,
    /// Where requests go.
    pub way: Way,
    /// Whether the gateway has a credential of its own.
    pub held: bool,
    /// In seconds.
    pub key_window: u64,
    /// In seconds.
    pub duplicate_window: u64,
    /// Seconds for which ended restores are kept; none is for ever.
    pub retention: Option<u64>,
    /// In seconds.
    pub settle: u64,
    /// In seconds.
    pub unknown: u64,
    /// In seconds.
    pub overdue: u64,
    /// Requests to each upstream per minute; 0 is no limit.
    pub polls_per_minute: u32,
    /// What the clouds are like.
    pub world: Value,
    /// How far the wall clocks of the processes are from the true time, in milliseconds.
    pub offsets: [i64; 2],
    /// Whether the clouds stay as the last fault left them: their API is at its end.
    pub ends: bool,
    /// Whether routes read before they send, to compare later reads with.
    pub baseline: bool,
    /// Whether every disk was restored once, days ago.
    pub history: bool,
    /// Whether one caller checks over and over while another restores, and nothing else happens.
    pub crowd: bool,
}

impl Setup {
    /// How many replicas there are.
    pub const fn replicas(&self) -> usize {
        if matches!(self.place, Place::Shared) { 2 } else { 1 }
    }
}

/// What is restored: few targets, so that requests meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The server with its disks, from CBR.
    CbrServer,
    /// The same server, from CSBS.
    CsbsServer,
    /// The detached disk.
    FreeDisk,
    /// An extra disk.
    Disk(u32),
    /// An extra disk from the backup of another.
    Crossed(u32),
    /// The detached disk from the backup of one of the server's: 0 or 1.
    Child(u32),
    /// A server that there is not, with an extra disk as its own.
    Invented(u32),
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// May do everything.
    Alice,
    /// As well.
    Bob,
    /// May restore servers and nothing else.
    Servers,
}

impl Who {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
            Self::Servers => "servers",
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// Who asks.
    pub who: Who,
    /// For what.
    pub what: What,
    /// With which key.
    pub key: Option<u32>,
}

/// What happens.
#[expect(missing_docs, reason = "the variants say what their members are")]
#[derive(Clone, Debug)]
pub enum Step {
    /// Asks for a restore, and hangs up after so long.
    Submit { ask: Ask, replica: usize, patience: u64 },
    /// Asks for the same once more, as clients do after 502, 504 and silence.
    Again { of: usize, replica: usize, patience: u64 },
    /// Looks at a restore, with a token, and waits for so long.
    Poll { nth: usize, replica: usize, wait: u64 },
    /// Asks whether a restore could be made.
    Check { ask: Ask, replica: usize },
    /// Five checks a second, for so many seconds.
    Crowd { replica: usize, seconds: u64 },
    /// All processes end, and the ledger's file is deleted; then they start again.
    Delete,
    /// Takes a restore back.
    Cancel { nth: usize, replica: usize },
    /// An operator decides what waits for one.
    Operate { replica: usize },
    /// SIGKILL.
    Kill { replica: usize },
    /// Starts it, if it is dead.
    Start { replica: usize, crash: Option<Crash>, recovery: bool },
    /// SIGSTOP for so long.
    Freeze { replica: usize, millis: u64 },
    /// Something befalls the ledger.
    Ledger { plight: Plight, millis: u64 },
    /// A copy of the ledger is made.
    Copy,
    /// All processes end, and the copy is put in the ledger's place; the operator starts them in recovery mode.
    PutBack,
    /// Recovery mode begins.
    Recovery { replica: usize },
    /// An operator ends it.
    Confirm { replica: usize },
    /// The wall clock of a replica is set.
    Clock { replica: usize, millis: i64 },
    /// What the clouds, and what stands before them, play next.
    Faults(Value),
    /// The clouds change.
    World(Value),
    /// Something befalls the network.
    Net { weather: Weather, millis: u64 },
    /// Somebody restores at the cloud's console.
    Console { what: What, through: &'static str },
    /// The configuration is loaded again, in this version.
    Reload { replica: usize, version: u8 },
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
pub fn draw(seed: u64) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let setup = setup(&mut rng);
    if setup.crowd {
        return crowd(&mut rng, &setup);
    }
    let mut steps = Vec::new();
    for replica in 0..setup.replicas() {
        let crash = rng.bool().then(|| crash(&mut rng, &setup));
        steps.push(Step::Start { replica, crash, recovery: false });
    }
    if setup.way == Way::Around {
        steps.push(Step::Faults(closed()));
    } else if rng.u8(..) < 128 {
        steps.push(Step::Faults(faults(&mut rng)));
    }
    let mut asks = Vec::new();
    for _ in 0..rng.usize(8..26) {
        let step = step(&mut rng, &setup, &mut asks);
        steps.extend(step);
        if rng.bool() {
            let millis = match rng.u8(..10) {
                0..=4 => rng.u64(0..50),
                5..=7 => rng.u64(50..1_500),
                8 => rng.u64(1_500..8_000),
                _ => rng.u64(8_000..90_000),
            };
            steps.push(Step::Wait { millis });
        }
    }
    if setup.ends {
        steps.push(Step::Faults(ended()));
    }
    Schedule { setup, steps }
}

/// One caller checks, another restores, and nothing goes wrong.
fn crowd(rng: &mut Rng, setup: &Setup) -> Schedule {
    let setup = Setup {
        place: Place::Alone(100_000),
        way: if rng.bool() { Way::Classic } else { Way::TwoNames },
        polls_per_minute: *rng.choice(&[120, 240]).unwrap_or(&120),
        offsets: [0, 0],
        ends: false,
        world: json!({"restore_seconds": 3}),
        ..setup.clone()
    };
    let mut steps = vec![
        Step::Start { replica: 0, crash: None, recovery: false },
        Step::Crowd { replica: 0, seconds: 90 },
        Step::Wait { millis: rng.u64(5_000..20_000) },
    ];
    for disk in 0..DISKS {
        let ask = Ask { who: Who::Alice, what: What::Disk(disk), key: None };
        steps.push(Step::Submit { ask, replica: 0, patience: 10_000 });
        steps.push(Step::Wait { millis: rng.u64(0..4_000) });
    }
    steps.push(Step::Wait { millis: 90_000 });
    Schedule { setup, steps }
}

fn setup(rng: &mut Rng) -> Setup {
    let place = match rng.u8(..20) {
        0..=8 => Place::Shared,
        9 => Place::Alone(2),
        10..=18 => Place::Alone(100_000),
        _ => Place::File,
    };
    let way = match rng.u8(..10) {
        0..=3 => Way::Classic,
        4..=6 => Way::Apart,
        7 | 8 => Way::Around,
        _ => Way::TwoNames,
    };
    let mut world = json!({
        "cbr_202": *rng.choice(&["empty", "empty", "chunked_empty", "job_id", "html"]).unwrap_or(&"empty"),
        "cbr_oplog_lag_seconds": *rng.choice(&[0, 0, 0, 1, 2]).unwrap_or(&0),
        "cbr_oplog_restore_block": rng.u8(..) >= 30,
        "cbr_oplog_own_request_id": rng.bool(),
        "csbs_restores_read": rng.bool(),
        "restore_seconds": *rng.choice(&[1, 3, 3, 8]).unwrap_or(&3),
        "time_format": if rng.bool() { "otc" } else { "hwc" },
    });
    if way == Way::Apart {
        world["volumes"] = json!({ids::SYSTEM.1: {"detached": true}, ids::DATA.1: {"detached": true}});
    }
    let settle = *rng.choice(&[2, 3, 6]).unwrap_or(&3);
    Setup {
        place,
        way,
        held: rng.bool(),
        key_window: *rng.choice(&[60, 60, 600]).unwrap_or(&60),
        duplicate_window: *rng.choice(&[1, 20, 120]).unwrap_or(&20),
        retention: rng.bool().then(|| *rng.choice(&[5, 30, 90]).unwrap_or(&30)),
        settle,
        unknown: settle + *rng.choice(&[2, 6, 20]).unwrap_or(&6),
        overdue: *rng.choice(&[6, 20, 60]).unwrap_or(&20),
        polls_per_minute: *rng.choice(&[0, 600, 600, 120]).unwrap_or(&600),
        world,
        offsets: [0, 1].map(|_| if rng.u8(..) < 200 { rng.i64(-300..300) } else { rng.i64(-90_000..90_000) }),
        ends: rng.u8(..) < 12,
        baseline: rng.u8(..) >= 80,
        history: rng.u8(..) < 100,
        crowd: rng.u8(..) < 3,
    }
}

/// Who asks.
pub fn who(rng: &mut Rng) -> Who {
    match rng.u8(..12) {
        0..=5 => Who::Alice,
        6..=10 => Who::Bob,
        _ => Who::Servers,
    }
}

/// A request, as routes of this kind make it matter.
pub fn ask(rng: &mut Rng, way: Way) -> Ask {
    let who = who(rng);
    let disk = rng.u32(..DISKS);
    let what = if who == Who::Servers {
        if rng.bool() { What::Invented(disk) } else { What::CbrServer }
    } else {
        match rng.u8(..12) {
            0..=2 => What::CbrServer,
            3 | 4 => What::CsbsServer,
            5 | 6 => What::FreeDisk,
            7 if rng.bool() => What::Child(disk % 2),
            7 => What::Crossed(disk),
            _ => What::Disk(disk),
        }
    };
    // Where servers go disk by disk, they are what matters.
    let what = match what {
        What::CsbsServer | What::FreeDisk if way == Way::Apart => What::CbrServer,
        What::CbrServer if way == Way::Around => What::CsbsServer,
        other => other,
    };
    Ask { who, what, key: rng.bool().then(|| rng.u32(..4)) }
}

/// Two restores move one backup, and one of them gets lost: whose is what the backup shows?
fn of_one_backup(rng: &mut Rng, setup: &Setup, asks: &mut Vec<Ask>) -> Vec<Step> {
    let lost = *rng.choice(&["before", "mid_body"]).unwrap_or(&"before");
    let mut steps = vec![Step::Faults(json!([{"match": {"method": "POST", "path": "/v3/*/restore"},
        "reset": lost, "applied": false, "times": 1, "after": rng.u8(..2)}]))];
    for what in [What::CbrServer, What::Child(rng.u32(..2))] {
        let ask = Ask { who: if rng.bool() { Who::Alice } else { Who::Bob }, what, key: None };
        asks.push(ask);
        steps.push(Step::Submit { ask, replica: rng.usize(..setup.replicas()), patience: 2_500 });
        steps.push(Step::Wait { millis: rng.u64(1..900) });
    }
    steps.push(Step::Wait { millis: rng.u64(5_000..20_000) });
    steps
}

/// What goes together in service: somebody asks again long after the end, or a gateway stops in the middle of a restore.
fn together(rng: &mut Rng, setup: &Setup, asks: &mut Vec<Ask>) -> Vec<Step> {
    let ask = ask(rng, setup.way);
    asks.push(ask);
    let replica = rng.usize(..setup.replicas());
    let mut steps = vec![Step::Submit { ask, replica, patience: 10_000 }];
    let again = Step::Again { of: asks.len() - 1, replica: rng.usize(..setup.replicas()), patience: 10_000 };
    if rng.bool() {
        steps.push(Step::Wait { millis: rng.u64(4_000..12_000) });
        steps.push(Step::Poll { nth: 0, replica, wait: 5_000 });
        steps.push(Step::Wait { millis: *rng.choice(&[1_000, 50_000, 58_000, 90_000]).unwrap_or(&50_000) });
        steps.push(again);
    } else {
        steps.push(Step::Wait { millis: rng.u64(1..30) });
        steps.push(match rng.u8(..4) {
            0 => Step::Ledger { plight: Plight::Locked, millis: 6_500 },
            1 => Step::Ledger { plight: Plight::Away, millis: rng.u64(100..7_000) },
            2 => Step::Recovery { replica: rng.usize(..setup.replicas()) },
            _ => Step::Freeze { replica, millis: rng.u64(3_000..16_000) },
        });
        steps.push(Step::Wait { millis: rng.u64(5_000..20_000) });
        steps.push(again);
    }
    steps
}

fn step(rng: &mut Rng, setup: &Setup, asks: &mut Vec<Ask>) -> Vec<Step> {
    match rng.u8(..20) {
        0 | 1 => return together(rng, setup, asks),
        2 => return of_one_backup(rng, setup, asks),
        _ => {}
    }
    let replica = rng.usize(..setup.replicas());
    let patience = *rng.choice(&[300, 2_500, 10_000]).unwrap_or(&2_500);
    let one = match rng.u8(..120) {
        0..=29 => {
            let ask = ask(rng, setup.way);
            asks.push(ask);
            Step::Submit { ask, replica, patience }
        }
        30..=47 if !asks.is_empty() => Step::Again { of: rng.usize(..asks.len()), replica, patience },
        30..=54 => Step::Poll { nth: rng.usize(..64), replica, wait: *rng.choice(&[0, 5_000]).unwrap_or(&0) },
        55..=57 => Step::Check { ask: ask(rng, setup.way), replica },
        58..=60 => Step::Cancel { nth: rng.usize(..64), replica },
        61..=64 => Step::Operate { replica },
        65..=69 => Step::Kill { replica },
        70..=78 => {
            let crash = (rng.u8(..) < 90).then(|| crash(rng, setup));
            Step::Start { replica, crash, recovery: rng.u8(..) < 10 }
        }
        79..=84 => {
            Step::Freeze { replica, millis: *rng.choice(&[200, 1_500, 5_000, 12_000]).unwrap_or(&200) }
        }
        85..=90 => {
            let plight =
                *rng.choice(&[Plight::Away, Plight::Locked, Plight::Unheard]).unwrap_or(&Plight::Away);
            Step::Ledger { plight, millis: *rng.choice(&[300, 2_000, 6_500]).unwrap_or(&300) }
        }
        91 | 92 if setup.place == Place::File => Step::Delete,
        91 => Step::Copy,
        92 => Step::PutBack,
        93 => Step::Recovery { replica },
        94 | 95 => Step::Confirm { replica },
        96 | 97 => {
            let millis = *rng.choice(&[-7_200_000, -30_000, 1_000, 45_000, 7_200_000]).unwrap_or(&1_000);
            Step::Clock { replica, millis }
        }
        98..=105 if setup.way != Way::Around => Step::Faults(faults(rng)),
        98..=103 => Step::Net {
            weather: *rng
                .choice(&[Weather::Refused, Weather::Hangs, Weather::Late(400)])
                .unwrap_or(&Weather::Hangs),
            millis: rng.u64(500..6_000),
        },
        104..=107 => Step::Net {
            weather: *rng
                .choice(&[Weather::Refused, Weather::Hangs, Weather::Late(400), Weather::Late(1_600)])
                .unwrap_or(&Weather::Hangs),
            millis: rng.u64(500..6_000),
        },
        108..=110 => Step::World(unusual_end(rng, 4)),
        111..=114 => {
            let what = match rng.u8(..4) {
                0 => What::FreeDisk,
                1 => What::Crossed(rng.u32(..DISKS)),
                _ => What::Disk(rng.u32(..DISKS)),
            };
            Step::Console { what, through: if rng.bool() { "cbr" } else { "vbs" } }
        }
        115..=117 => Step::Reload { replica, version: rng.u8(..4) },
        // With two replicas time costs more to play.
        118 if setup.replicas() == 1 => Step::Wait { millis: 26 * 3_600_000 },
        _ => Step::Wait { millis: rng.u64(60_000..400_000) },
    };
    vec![one]
}

/// The next restore ends as few do. A word that nobody knows becomes a success after so many seconds.
pub fn unusual_end(rng: &mut Rng, then_after_seconds: u32) -> Value {
    let status = *rng.choice(&["failed", "skipped", "timeout", "SOMETHING_NEW"]).unwrap_or(&"failed");
    let mut next = json!({"status": status});
    if status == "SOMETHING_NEW" {
        next["then"] = json!("success");
        next["then_after_seconds"] = json!(then_after_seconds);
    }
    json!({"next_restore": next})
}

fn crash(rng: &mut Rng, setup: &Setup) -> Crash {
    let point = *rng.choice(crash::POINTS.iter()).unwrap_or(&crash::POINTS[0]);
    let stops = setup.place == Place::Shared && rng.bool();
    // A stop in the middle of the gate's own question cannot be told from one after it, and that one is a machine's.
    let signal =
        if stops && point != "first_byte" { Signal::Stop(rng.u64(500..15_000)) } else { Signal::Kill };
    Crash { point, time: rng.u32(1..4), signal }
}

/// Generations that are closed to the project, for good.
pub fn closed() -> Value {
    let refusal = |path: &str, body: Value| {
        json!({"match": {"method": "POST", "path": path}, "times": 0, "applied": false,
            "answer": {"status": 400, "body": body}})
    };
    json!([
        refusal("/v1/*/restores", json!({"error_code": "BackupService.4008", "error_msg": "closed"})),
        refusal(
            "*/cloudbackups/*/restore",
            json!({"error": {"code": "BackupService.4008", "message": "closed"}})
        ),
    ])
}

/// An API that is no more.
pub fn ended() -> Value {
    json!([{"match": {}, "times": 0, "applied": false, "answer": {"status": 404,
        "body": {"error_code": "APIGW.0101", "error_msg": "The API does not exist or has not been published."}}}])
}

/// Faults of the kinds that clients, balancers and clouds themselves show.
pub fn faults(rng: &mut Rng) -> Value {
    let mut list = Vec::new();
    for _ in 0..rng.u8(1..4) {
        list.push(if rng.u8(..4) == 0 { fault_of_reads(rng) } else { fault_of_sends(rng) });
    }
    Value::Array(list)
}

fn fault_of_sends(rng: &mut Rng) -> Value {
    let html = |status: u16| json!({"status": status, "body": format!("<html>{status}</html>"), "headers": {"content-type": "text/html"}});
    let mut fault = match rng.u8(..18) {
        0 => json!({"applied": rng.bool(), "answer": html(504)}),
        1 => json!({"applied": rng.bool(), "answer": html(502)}),
        2 => json!({"applied": rng.bool(), "answer": {"status": 499}}),
        3 => json!({"applied": rng.bool(), "answer": html(400)}),
        4 => json!({"applied": rng.bool(), "answer": html(503)}),
        5 => json!({"applied": rng.bool(), "answer": {"status": 408}}),
        6 => json!({"reset": "after_apply"}),
        7 => json!({"reset": "before"}),
        8 => json!({"reset": "mid_body"}),
        9 => json!({"reset": "mid_head"}),
        10 => json!({"applied": false, "answer": {"status": 429, "headers": {"retry-after": "1"},
            "body": {"error_code": "APIGW.0308", "error_msg": "upstream_throttled"}}}),
        11 => json!({"applied": rng.bool(), "stall": true}),
        12 => json!({"delay_ms": rng.u32(50..1_800)}),
        13 => json!({"coding": *rng.choice(&["gzip", "deflate", "raw_deflate", "br"]).unwrap_or(&"gzip")}),
        14 | 15 => json!({"headers": {"date": date(rng)}}),
        16 => json!({"truncate_body": 3}),
        _ => json!({"applied": false, "answer": {"status": 401,
            "body": {"error_code": "APIGW.0301", "error_msg": "Incorrect IAM authentication information"}}}),
    };
    let path = *rng
        .choice(&["/v3/*/restore", "/v1/*/restores", "*/cloudbackups/*/restore", "*/restore*", "*/restore*"])
        .unwrap_or(&"*/restore*");
    fault["match"] = json!({"method": "POST", "path": path});
    fault["times"] = json!(rng.u8(1..3));
    fault["after"] = json!(rng.u8(..2));
    fault
}

fn fault_of_reads(rng: &mut Rng) -> Value {
    let mut fault = match rng.u8(..9) {
        0 => json!({"answer": {"status": 502, "body": "<html>502</html>"}}),
        1 => json!({"answer": {"status": 429, "headers": {"retry-after": "2"}}}),
        2 => json!({"answer": {"status": 401, "body": {"error_code": "APIGW.0301", "error_msg": "expired"}}}),
        3 => json!({"stall": true}),
        4 => json!({"reset": "before"}),
        5 => json!({"coding": *rng.choice(&["gzip", "deflate", "raw_deflate", "br"]).unwrap_or(&"gzip")}),
        6 | 7 => json!({"headers": {"date": date(rng)}}),
        _ => json!({"answer": {"status": 403, "body": {"error_code": "IAM.0003", "error_msg": "no"}}}),
    };
    fault["match"] = json!({"method": "GET"});
    fault["times"] = json!(*rng.choice(&[1, 2, 5, 30]).unwrap_or(&1));
    fault["after"] = json!(rng.u8(..3));
    fault
}

fn date(rng: &mut Rng) -> &'static str {
    rng.choice([
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Sun, 22 Nov 2026 07:00:00 GMT",
        "Mon, 23 Nov 2026 10:00:00 GMT",
        "Thu, 31 Dec 2099 23:59:59 GMT",
    ])
    .unwrap_or("Thu, 01 Jan 1970 00:00:00 GMT")
}

/// The ids of the clouds' first world.
pub mod ids {
    pub use restore_tests::ids::*;
}
