//! The corpus of `tests/cases` over sockets: the request in, the exact call at the cloud, the cloud's
//! reply back, and what the gateway makes of it. Translation alone is held to the same corpus.

use std::path::{Path, PathBuf};

use restore_tests::{TestConfig, World};
use serde_json::{Value, json};

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<_> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).expect("a name")
}

fn file(case: &Path, name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(case.join(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}/{name}: {error}", case.display())))
}

/// A reply of the corpus as an answer of a fault plan.
fn answer(reply: &Value) -> Value {
    let mut answer = json!({"status": reply["status"]});
    for (theirs, ours) in [("headers", "headers"), ("body", "body"), ("body_text", "body_raw")] {
        if !reply[theirs].is_null() {
            answer[ours] = reply[theirs].clone();
        }
    }
    answer
}

/// Whether `seen` has everything that `expected` names.
fn like(expected: &Value, seen: &Value, place: &str) -> Result<(), String> {
    match expected.as_object() {
        Some(members) => members
            .iter()
            .try_for_each(|(member, value)| like(value, &seen[member], &format!("{place}/{member}"))),
        None if expected == seen => Ok(()),
        None => Err(format!("{place} is {seen}, not {expected}")),
    }
}

/// What the gateway concluded, in the words of the corpus.
async fn concluded(world: &World, status: u16, body: &Value) -> Value {
    let id = body["id"].as_str().unwrap_or_default();
    match (status, body["status"].as_str()) {
        (202, Some("running")) => {
            let anomaly = world.history(id).await.contains(&"anomaly".to_owned());
            json!({"outcome": "started", "task": body["upstream"]["task"],
                "status": body["upstream"]["status"], "anomaly": anomaly})
        }
        (202, Some("unknown")) => about("outcome_unclear", &body["error"]),
        (200, Some("failed")) => about("failed", &body["error"]),
        _ if body["code"].is_string() => about("refused", body),
        _ => json!({"outcome": format!("{status} {body}")}),
    }
}

fn about(outcome: &str, problem: &Value) -> Value {
    let mut about = json!({"outcome": outcome});
    for member in ["code", "effect", "retry", "upstream"] {
        about[member] = problem[member].clone();
    }
    about
}

async fn run(generation: &str, case: &Path) -> Result<(), String> {
    let need = |name| file(case, name).ok_or(format!("{name} is missing"));
    let (call, expected) = (need("call.json")?, need("answer.json")?);
    let routes = format!(
        "[[upstreams]]\nname = \"u\"\ngeneration = \"{generation}\"\nendpoint = \"{{clouds}}\"\n\
         [[routes]]\nupstream = \"u\"\nbaseline_read = false\n"
    );
    // One send: what a repetition may do is another promise.
    let world = World::with(TestConfig::default().set("submit.max_attempts", "1").routes(&routes)).await;
    let mut faults = Vec::new();
    for read in file(case, "reads.json").iter().filter_map(Value::as_array).flatten() {
        faults.push(
            json!({"match": {"method": "GET", "path": read["path"]}, "answer": answer(&read["reply"])}),
        );
    }
    if let Some(reply) = file(case, "reply.json") {
        faults.push(json!({"match": {"method": "POST"}, "times": 0, "answer": answer(&reply)}));
    }
    world.faults(json!(faults)).await;
    let answer = world.submit(&need("request.json")?).await;
    let seen = concluded(&world, answer.status, &answer.json()).await;
    let sent: Vec<Value> = world
        .sent()
        .await
        .iter()
        .map(|call| json!({"method": call["method"], "path": call["path"], "body": call["body"]}))
        .collect();
    world.end().await;
    let wanted = if call.is_null() { Vec::new() } else { vec![call] };
    if sent != wanted {
        return Err(format!("sent {}, not {}", json!(sent), json!(wanted)));
    }
    like(&expected, &seen, "")
}

#[tokio::test]
async fn every_case_of_the_corpus_holds_over_sockets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let (mut count, mut wrong) = (0, Vec::new());
    for generation in folders(&root) {
        for case in folders(&generation) {
            count += 1;
            if let Err(why) = run(name(&generation), &case).await {
                wrong.push(format!("{}/{}: {why}", name(&generation), name(&case)));
            }
        }
    }
    assert!(count > 0, "no cases in {}", root.display());
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    println!("{count} cases");
}
