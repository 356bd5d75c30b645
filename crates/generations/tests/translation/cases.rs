//! The corpus of the workspace's `tests/cases`: request → exact call, reply → conclusion.

use std::fs;
use std::path::{Path, PathBuf};

use restore_generations::{Call, Generation, Known, Outcome, Prepare, Reply};
use restore_model::{Problem, RestoreRequest};
use serde_json::{Value, json};

use crate::support::{after, drive, generation};

#[test]
fn every_case_is_concluded_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases");
    let mut count = 0;
    let mut wrong = Vec::new();
    for generations in folders(&root) {
        for case in folders(&generations) {
            count += 1;
            let name = generations.file_name().unwrap().to_str().unwrap();
            if let Err(why) = run(generation(name), &case) {
                wrong.push(format!("{name}/{}: {why}", case.file_name().unwrap().to_str().unwrap()));
            }
        }
    }
    assert!(count > 0, "no cases in {}", root.display());
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn file(case: &Path, name: &str) -> Option<Value> {
    let text = fs::read_to_string(case.join(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}/{name}: {error}", case.display())))
}

fn run(generation: &dyn Generation, case: &Path) -> Result<(), String> {
    let need = |name| file(case, name).ok_or(format!("{name} is missing"));
    let request =
        restore_model::schema::parse_restore(need("request.json")?).map_err(|why| why.to_string())?;
    let expected = need("answer.json")?;

    let mut known = Known::default();
    if generation.restores(request.target.kind()) {
        known = read_before(generation, &request, case)?;
    }
    let encoded = match generation.encode(&request, &known) {
        Ok(encoded) => encoded,
        Err(problem) if need("call.json")?.is_null() => {
            return like(&expected, &about("refused", &problem), "answer");
        }
        Err(problem) => return Err(format!("not expressible: {problem}")),
    };
    same_call(&need("call.json")?, &encoded.call)?;
    let answer = match generation.decode(&request, &reply(&need("reply.json")?)) {
        Outcome::Started { task, status, anomaly } => {
            json!({"outcome": "started", "task": task, "status": status, "anomaly": anomaly.is_some()})
        }
        Outcome::Failed(problem) => about("failed", &problem),
        Outcome::Refused(problem) => about("refused", &problem),
        Outcome::Unsure { problem, .. } => about("outcome_unclear", &problem),
    };
    like(&expected, &answer, "answer")
}

/// The facts of the backup, where the case has a read that tells them.
fn read_before(generation: &dyn Generation, request: &RestoreRequest, case: &Path) -> Result<Known, String> {
    let reads = file(case, "reads.json").unwrap_or_default();
    let known = Known::default();
    let ask = Prepare { request, known: &known, baseline: false, server: None, now: after(0) };
    let (prepared, _) = drive(
        |answers| generation.prepare(&ask, answers),
        |path| {
            let read = reads.as_array().and_then(|reads| {
                reads.iter().find(|read| read["path"].as_str().is_some_and(|known| known.ends_with(path)))
            });
            Ok(reply(&read.unwrap_or_else(|| panic!("{}: {path} was read", case.display()))["reply"]))
        },
    );
    Ok(prepared.map_err(|why| why.to_string())?.facts)
}

fn about(outcome: &str, problem: &Problem) -> Value {
    let mut value = serde_json::to_value(problem).unwrap();
    value["outcome"] = json!(outcome);
    value
}

fn reply(value: &Value) -> Reply {
    let body = match value["body_text"].as_str() {
        Some(text) => text.to_owned(),
        None => value["body"].to_string(),
    };
    Reply {
        status: u16::try_from(value["status"].as_u64().unwrap()).unwrap(),
        body: body.into(),
        request_id: value["headers"]["x-request-id"].as_str().map(str::to_owned),
        ..Reply::default()
    }
}

fn same_call(expected: &Value, call: &Call) -> Result<(), String> {
    let found = json!({"method": call.method.as_str(), "path": call.path, "body": call.body_json()});
    if !call.restores {
        return Err("the call is not marked as one that restores".to_owned());
    }
    if *expected == found { Ok(()) } else { Err(format!("the call is {found}")) }
}

/// Every member of `expected` is in `found`, with the same value.
fn like(expected: &Value, found: &Value, place: &str) -> Result<(), String> {
    match (expected, found) {
        (Value::Object(members), Value::Object(_)) => {
            members.iter().try_for_each(|(name, value)| like(value, &found[name], &format!("{place}.{name}")))
        }
        _ if expected == found => Ok(()),
        _ => Err(format!("{place} is {found}, not {expected}")),
    }
}
