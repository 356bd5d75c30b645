//! No text makes a pattern work more than its length (S33): patterns of schemas are of the linear engine, and short; and
//! what the process spends on hostile words grows as they do, counted by the kernel.

use http::Method;
use restore_tests::{TestConfig, World, ids};
use serde_json::{Value, json};

/// Every schema below a value that has a pattern.
fn patterns<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            assert!(!members.contains_key("patternProperties"), "names are not matched by patterns");
            if members.get("pattern").is_some_and(Value::is_string) {
                found.push(value);
            }
            members.values().for_each(|member| patterns(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| patterns(item, found)),
        _ => {}
    }
}

/// Nanoseconds of processor time that the process has had, of all its threads.
fn spent(world: &World) -> u64 {
    let tasks = std::fs::read_dir(world.process().proc("task")).expect("procfs");
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of).sum()
}

/// The least that one such request took.
async fn cost(world: &World, path: &str, headers: &[(&str, &str)], body: &str) -> u64 {
    let mut all = vec![("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
    all.extend_from_slice(headers);
    let mut least = u64::MAX;
    for _ in 0..7 {
        let before = spent(world);
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        let answer = world.http.send(method, &world.url(path), &all, body.to_owned()).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        // A thread that has ended meanwhile takes its time with it: that round says nothing.
        let took = spent(world).checked_sub(before).filter(|took| *took > 0);
        least = least.min(took.unwrap_or(u64::MAX));
    }
    least
}

/// All words of a request are this one.
fn all_of(word: &str) -> String {
    json!({
        "project_id": word,
        "source": {"backup_id": word, "checkpoint_id": word},
        "target": {"type": "server", "server_id": word, "power_on": true,
            "volumes": [{"backup_id": word, "volume_id": word}]},
    })
    .to_string()
}

/// Almost what fits, and wrong at the very end: what a backtracking engine takes longest for.
const HOSTILE: [&str; 6] = ["a", "-", "_a", "aA0_-", "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "\u{1f980}"];
/// How much longer the long ones are, and how much more they may take: as much, four times over. Work that grew with the
/// square would be as much again as the factor.
const TIMES: usize = 16;
const MORE: u64 = 4 * TIMES as u64;

#[tokio::test]
async fn s33_a_hostile_word_costs_no_more_than_its_length() {
    // Bodies of which words this long are a part are read to their end.
    let world = World::with(TestConfig::default().set("limits.max_body_bytes", "2097152")).await;
    let names = world.get("/docs").await.text();
    let mut count = 0;
    for name in names.split("href=\"/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        let schema = world.get(&format!("/schemas/{name}")).await;
        restore_model::schema::compile(&schema.text()).expect("the linear engine takes it");
        let (schema, mut found) = (schema.json(), Vec::new());
        patterns(&schema, &mut found);
        for with in found {
            let pattern = with["pattern"].as_str().unwrap_or_default();
            // The whole text or nothing; and of what comes from outside, no more than some length.
            assert!(pattern.starts_with('^') && pattern.ends_with('$'), "{name}: {with}");
            if name == "restore-request" {
                assert!(pattern.ends_with("}$") || with["maxLength"].is_u64(), "{with}");
                count += 1;
            }
        }
    }
    assert!(count > 0, "there are patterns");

    for unit in HOSTILE {
        let word = |length: usize| format!("{}!", unit.repeat(length / unit.len()));
        // Seven words each, of 64 KiB and 1 MiB in all.
        let (short, long) = (all_of(&word(8 * 1024)), all_of(&word(8 * 1024 * TIMES)));
        let path = "/api/v1/restore-previews";
        let (little, much) = (cost(&world, path, &[], &short).await, cost(&world, path, &[], &long).await);
        assert!(much <= MORE * little, "{unit:?}: {little} ns, and {much} ns for {TIMES} times as much");
    }
    // What is matched outside of bodies: parts of paths and queries.
    for unit in ["a", "-", "%61", "a,", "a%2C", "."] {
        let word = |length: usize| unit.repeat(length / unit.len());
        for path in
            ["/api/v1/restores/{}/events", "/api/v1/restores?status={}", "/schemas/{}", "/problems/{}"]
        {
            let path = |length: usize| path.replace("{}", &word(length));
            let little = cost(&world, &path(1024), &[], "").await;
            let much = cost(&world, &path(1024 * TIMES), &[], "").await;
            assert!(much <= MORE * little, "{}: {little} ns, and {much} ns", path(6));
        }
    }
    world.end().await;
}
