//! What happens in a schedule, drawn from its seed.

use fastrand::Rng;
use restore_engine::crash;
use serde_json::{Value, json};

use crate::Store;

/// Extra disks of the clouds' world.
pub const DISKS: u32 = 4;

/// What is restored: few targets, so that requests meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The server with its disks, through CBR.
    CbrServer,
    /// The same server, through CSBS.
    CsbsServer,
    /// The detached disk, through VBS.
    VbsDisk,
    /// An extra disk: even numbers through VBS, odd ones through CBR.
    Disk(u32),
}

/// One step.
#[expect(missing_docs, reason = "the variants say what their members are")]
#[derive(Clone, Debug)]
pub enum Step {
    /// Ask for a restore; with a key or without.
    Submit { what: What, key: Option<u32>, replica: usize },
    /// Ask for the same as in the submit of this number, as clients do after 502, 504 and silence.
    Again { of: usize, replica: usize },
    /// Look at the list, which makes nobody any wiser and must hurt nobody.
    Look { replica: usize },
    /// Call the latest restore off.
    Cancel { replica: usize },
    /// SIGKILL.
    Kill { replica: usize },
    /// Start it, if it is dead; perhaps to die again at a named point.
    Start { replica: usize, crash: Option<String> },
    /// SIGSTOP for so long; longer than its lease, sometimes.
    Freeze { replica: usize, millis: u64 },
    /// SIGCONT, for one that stopped at a point.
    Thaw { replica: usize },
    /// The database goes away for so long.
    DatabaseAway { millis: u64 },
    /// What the clouds play next.
    Faults(Value),
    /// Let time pass.
    Wait { millis: u64 },
}

/// The steps of a seed.
#[must_use]
pub fn draw(seed: u64, store: Store) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let replicas = if store == Store::Postgres { 2 } else { 1 };
    let mut steps = Vec::new();
    let mut submits = 0;
    for replica in 0..replicas {
        steps.push(Step::Start { replica, crash: rng.bool().then(|| crash_point(&mut rng, store)) });
    }
    if rng.u8(..) < 160 {
        steps.push(Step::Faults(faults(&mut rng)));
    }
    for _ in 0..rng.usize(8..24) {
        let replica = rng.usize(..replicas);
        steps.push(match rng.u8(..100) {
            0..=34 => {
                submits += 1;
                Step::Submit { what: what(&mut rng), key: rng.bool().then(|| rng.u32(..6)), replica }
            }
            35..=54 if submits > 0 => Step::Again { of: rng.usize(..submits), replica },
            35..=59 => Step::Look { replica },
            60..=63 => Step::Cancel { replica },
            64..=69 => Step::Kill { replica },
            70..=81 => {
                let crash = (rng.u8(..) < 100).then(|| crash_point(&mut rng, store));
                Step::Start { replica, crash }
            }
            82..=85 if store == Store::Postgres => {
                Step::Freeze { replica, millis: *rng.choice(&[200, 1_500, 5_000]).unwrap_or(&200) }
            }
            86..=87 if store == Store::Postgres => Step::DatabaseAway { millis: rng.u64(200..2_500) },
            88..=92 if store == Store::Postgres => Step::Thaw { replica },
            82..=90 => Step::Faults(faults(&mut rng)),
            _ => Step::Wait { millis: rng.u64(10..800) },
        });
        if rng.bool() {
            steps.push(Step::Wait { millis: rng.u64(0..120) });
        }
    }
    steps
}

fn what(rng: &mut Rng) -> What {
    match rng.u8(..8) {
        0 => What::CbrServer,
        1 => What::CsbsServer,
        2 | 3 => What::VbsDisk,
        _ => What::Disk(rng.u32(..DISKS)),
    }
}

fn crash_point(rng: &mut Rng, store: Store) -> String {
    let point = rng.choice(crash::POINTS).unwrap_or(crash::POINTS[0]);
    // Where another replica may take over meanwhile, one that only stops is worse than one that dies.
    let signal = if store == Store::Postgres && rng.u8(..) < 100 { "/STOP" } else { "" };
    format!("{point}:{}{signal}", rng.u8(1..4))
}

/// Faults of the restore calls, of the kinds that clients and balancers meet.
fn faults(rng: &mut Rng) -> Value {
    let one = |rng: &mut Rng| {
        let path = *rng
            .choice(&["/v3/*/restore", "/v1/*/restores", "/v2/*/cloudbackups/*/restore", "*restore*"])
            .unwrap_or(&"*restore*");
        let mut fault = match rng.u8(..11) {
            0 => json!({"applied": true, "answer": {"status": 504, "body": "<html>504</html>"}}),
            1 => json!({"applied": false, "answer": {"status": 502, "body": "<html>502</html>"}}),
            2 => json!({"applied": true, "answer": {"status": 502}}),
            3 => json!({"applied": false, "answer": {"status": 503}}),
            4 => json!({"reset": "after_apply"}),
            5 => json!({"reset": "before"}),
            6 => json!({"reset": "mid_body"}),
            7 => json!({"applied": false, "answer": {"status": 429, "headers": {"retry-after": "1"}}}),
            8 => json!({"applied": rng.bool(), "stall": true}),
            9 => json!({"delay_ms": rng.u32(50..900)}),
            _ => json!({"applied": false, "answer": {"status": 401, "body": {"error_code": "APIGW.0301"}}}),
        };
        fault["match"] = json!({"method": "POST", "path": path});
        fault["times"] = json!(rng.u8(1..3));
        fault["after"] = json!(rng.u8(..2));
        fault
    };
    Value::Array((0..rng.u8(1..4)).map(|_| one(rng)).collect())
}
