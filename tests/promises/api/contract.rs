//! The contract holds for requests that nobody wrote down: made out of the document itself, good and bad, over real
//! sockets. No answer is a fault of the gateway's, each is one that the document describes, and there is none that
//! the document describes in vain.

use std::cell::RefCell;
use std::collections::BTreeSet;

use http::Method;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use restore_tests::raw::Raw;
use restore_tests::{Answer, Contract, TestConfig, World, ids, requests};
use serde_json::{Map, Value, json};

/// Requests that are made: a few seconds' worth.
const CASES: u32 = 2_000;

/// One request, and the operation it is made for.
#[derive(Clone, Debug)]
struct Case {
    method: String,
    template: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Texts at the edges of what a text may be.
fn edges() -> impl Strategy<Value = String> {
    let fixed = [
        "",
        " ",
        "0",
        "-1",
        "a",
        "null",
        "true",
        "{}",
        "[]",
        "\"",
        "\\",
        "%",
        "%00",
        "..",
        "../",
        "a/b",
        "a?b",
        "a#b",
        "é",
        "\u{202e}",
        "\u{0}",
        "\r\n",
        "1e400",
        "18446744073709551616",
        "2026-11-22T10:00:00Z",
        "0199a7c4",
        ids::PROJECT,
        "wait=0",
        "wait=-1",
        "running",
        "W/\"x\"",
        "*",
        "00-0-0-0",
    ];
    prop_oneof![
        select(fixed.to_vec()).prop_map(str::to_owned),
        "\\PC{0,12}",
        "[a-z0-9-]{1,80}",
        (1_usize..4_000).prop_map(|length| "x".repeat(length)),
    ]
}

/// A value that fits a schema, as far as the document's schemas go.
fn fitting(root: &Value, schema: &Value) -> BoxedStrategy<Value> {
    if let Some(pointer) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        return fitting(root, root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere")));
    }
    if let Some(value) = schema.get("const") {
        return Just(value.clone()).boxed();
    }
    if let Some(values) = schema["enum"].as_array() {
        return select(values.clone()).boxed();
    }
    // One of several forms, told apart by a word.
    if let Some(forms) = schema["allOf"].as_array() {
        let forms: Vec<_> = forms.iter().map(|form| fitting(root, &form["then"])).collect();
        return proptest::strategy::Union::new(forms).boxed();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "object" => object(root, schema),
        "array" => {
            let least = usize::try_from(schema["minItems"].as_u64().unwrap_or(0)).unwrap_or(0);
            prop::collection::vec(fitting(root, &schema["items"]), least..4).prop_map(Value::from).boxed()
        }
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => (1_u32..200).prop_map(Value::from).boxed(),
        "string" => match (schema["pattern"].as_str(), schema["format"].as_str()) {
            (Some(pattern), _) if schema["maxLength"].is_null() => {
                proptest::string::string_regex(pattern.trim_start_matches('^').trim_end_matches('$'))
                    .unwrap_or_else(|why| panic!("{pattern}: {why}"))
                    .prop_map(Value::from)
                    .boxed()
            }
            (_, Some("uuid")) => Just(json!("0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e")).boxed(),
            _ => "[a-zA-Z0-9/]{1,20}".prop_map(Value::from).boxed(),
        },
        other => panic!("no value of the type {other:?}: {schema}"),
    }
}

fn object(root: &Value, schema: &Value) -> BoxedStrategy<Value> {
    let required: BTreeSet<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut members = Just(Map::new()).boxed();
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let value = fitting(root, member);
        let value = if required.contains(name.as_str()) {
            value.prop_map(Some).boxed()
        } else {
            prop::option::of(value).boxed()
        };
        let name = name.clone();
        members = (members, value)
            .prop_map(move |(mut members, value)| {
                if let Some(value) = value {
                    members.insert(name.clone(), value);
                }
                members
            })
            .boxed();
    }
    members.prop_map(Value::Object).boxed()
}

/// Every place in a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            (0..).zip(items).for_each(|(n, value): (usize, _)| places(value, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

/// One place of a value made wrong, or left alone.
fn changed(mut value: Value, place: prop::sample::Index, how: u8, text: &str) -> Value {
    let mut found = Vec::new();
    places(&value, "", &mut found);
    let Some(at) = value.pointer_mut(place.get(found.as_slice()).as_str()) else { return value };
    match how {
        0 => {
            if let Some(members) = at.as_object_mut() {
                let name = members.keys().next().cloned();
                name.map(|name| members.remove(&name));
            }
        }
        1 => {
            if let Some(members) = at.as_object_mut() {
                members.insert(text.to_owned(), json!(text));
            }
        }
        2 => *at = json!(text),
        3 => *at = json!(7),
        4 => *at = Value::Null,
        5 => *at = json!([at.clone(), at.clone()]),
        _ => {}
    }
    value
}

/// A body: what the schema asks for, what the clouds know, either made wrong, or no JSON at all.
fn body(schema: &Value) -> impl Strategy<Value = Vec<u8>> + use<> {
    let known = select(vec![requests::cbr_server(), requests::csbs_server(), requests::free_disk()]);
    let value = prop_oneof![fitting(schema, schema), known];
    let wrong = (value.clone(), any::<prop::sample::Index>(), 0_u8..6, edges());
    prop_oneof![
        3 => value.clone().prop_map(|value| value.to_string().into_bytes()),
        6 => wrong.prop_map(|(value, place, how, text)| changed(value, place, how, &text).to_string().into_bytes()),
        1 => (value, 1_usize..40).prop_map(|(value, cut)| value.to_string().into_bytes()[cut..].to_vec()),
        1 => edges().prop_map(String::into_bytes),
    ]
}

/// What a program of a source API asks for, and what is nearly that.
fn native_bodies() -> BoxedStrategy<Vec<u8>> {
    let good = json!({
        "source_api": "vbs-v2", "method": "POST",
        "path": format!("/v2/{}/cloudbackups/{}/restore", ids::PROJECT, ids::FREE.0),
        "body": {"restore": {"volume_id": ids::FREE.1}},
    });
    let wrong = (Just(good.clone()), any::<prop::sample::Index>(), 0_u8..6, edges());
    prop_oneof![
        Just(good).prop_map(|value| value.to_string().into_bytes()),
        wrong
            .prop_map(|(value, place, how, text)| changed(value, place, how, &text).to_string().into_bytes()),
        edges().prop_map(String::into_bytes),
    ]
    .boxed()
}

/// Whether a text can stand in a header, for a client that is not the subject here.
fn fits_header(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// Good values of a parameter, by its name where a schema says too little.
fn good(name: &str, schema: &Value, restores: &[String]) -> BoxedStrategy<String> {
    let words =
        |words: &[&str]| select(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).boxed();
    match name {
        "id" => select(restores.to_vec()).boxed(),
        "name" => words(&["restore", "problem", "restore-request.json"]),
        "code" => words(&["target_busy", "internal"]),
        "X-Auth-Token" => words(&[ids::TOKEN]),
        // A wait is a second at most here.
        "Prefer" => words(&["wait=0", "respond-async", "wait=1"]),
        "status" => words(&["succeeded", "running,unknown"]),
        "project_id" => words(&[ids::PROJECT]),
        _ => fitting(schema, schema)
            .prop_map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .boxed(),
    }
}

/// Requests for one operation.
fn cases(
    contract: &Contract,
    schema: &Value,
    (method, template): (String, String),
    restores: &[String],
) -> BoxedStrategy<Case> {
    let template_of_natives = template == "/api/v1/compat-previews";
    let operation = contract.operation(&method, &template);
    let shared = &contract.document["paths"][&template]["parameters"];
    let mut case = Just(Case {
        method,
        template: template.clone(),
        path: template,
        headers: Vec::new(),
        body: Vec::new(),
    })
    .boxed();
    for parameter in [shared, &operation["parameters"]].into_iter().filter_map(Value::as_array).flatten() {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        let place = parameter["in"].as_str().unwrap_or_default().to_owned();
        let good = good(&name, &parameter["schema"], restores);
        let value =
            prop_oneof![3 => Just(None), 5 => good.clone().prop_map(Some), 2 => edges().prop_map(Some)];
        let value = if place == "path" {
            // An empty one is another path.
            prop_oneof![4 => good, 1 => edges().prop_filter("empty", |text| !text.is_empty())]
                .prop_map(Some)
                .boxed()
        } else {
            value.boxed()
        };
        case = (case, value)
            .prop_map(move |(mut case, value)| {
                match (place.as_str(), value) {
                    ("path", Some(value)) => {
                        case.path = case.path.replace(&format!("{{{name}}}"), &escaped(&value));
                    }
                    ("query", Some(value)) => {
                        let sign = if case.path.contains('?') { '&' } else { '?' };
                        case.path.push_str(&format!("{sign}{name}={}", escaped(&value)));
                    }
                    ("header", Some(value)) if fits_header(&value) => {
                        case.headers.push((name.clone(), value));
                    }
                    _ => {}
                }
                case
            })
            .boxed();
    }
    if operation["requestBody"].is_object() {
        let kind = prop_oneof![9 => Just("application/json".to_owned()), 1 => edges()];
        let native = template_of_natives.then(native_bodies);
        let body = native.unwrap_or_else(|| body(schema).boxed());
        case = (case, body, kind)
            .prop_map(|(mut case, body, kind)| {
                if fits_header(&kind) {
                    case.headers.push(("content-type".to_owned(), kind));
                }
                case.body = body;
                case
            })
            .boxed();
    }
    // And what no document lists.
    let more = select(vec![
        ("a_b", "c"),
        ("x-request-id", "mine"),
        ("accept", "text/html"),
        ("content-encoding", "gzip"),
    ]);
    (case, prop::option::weighted(0.1, more))
        .prop_map(|(mut case, more)| {
            case.headers.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
            case
        })
        .boxed()
}

async fn send(world: &World, case: &Case) -> Answer {
    let headers: Vec<_> = case.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let method = Method::from_bytes(case.method.as_bytes()).expect("a method");
    world.http.send(method, &world.url(&case.path), &headers, case.body.clone()).await
}

/// A restore that ends, and one that is called off: without them some answers are never seen.
async fn two_restores(world: &World, contract: &Contract) -> Vec<String> {
    let answer = world.post_with("/api/v1/restores", &requests::free_disk(), &[("prefer", "wait=1")]).await;
    contract.check("POST", "/api/v1/restores", &answer).unwrap_or_else(|why| panic!("{why}"));
    let ended = answer.json()["id"].as_str().expect("an id").to_owned();

    world.faults(json!([{"match": {"method": "GET"}, "delay_ms": 1500}])).await;
    let (http, url, body) =
        (world.http.clone(), world.url("/api/v1/restores"), requests::csbs_server().to_string());
    let submitted = tokio::spawn(async move {
        let headers = [("x-auth-token", ids::TOKEN), ("content-type", "application/json")];
        http.send(Method::POST, &url, &headers, body).await
    });
    let checking = loop {
        let list = world.get("/api/v1/restores?status=checking").await.json();
        if let Some(id) = list["restores"][0]["id"].as_str() {
            break id.to_owned();
        }
        assert!(!submitted.is_finished(), "it was never seen checking");
    };
    let off =
        world.http.send(Method::DELETE, &world.url(&format!("/api/v1/restores/{checking}")), &[], "").await;
    assert_eq!(off.status, 200, "{}", off.text());
    contract.check("DELETE", "/api/v1/restores/{id}", &off).unwrap_or_else(|why| panic!("{why}"));
    world.faults(json!([])).await;
    submitted.await.expect("an answer");
    vec![ended, checking]
}

#[test]
fn any_request_is_answered_as_the_contract_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let config =
        TestConfig::default().set("limits.max_wait_seconds", "1").set("limits.max_body_bytes", "3000");
    let world = runtime.block_on(World::with(config));
    let contract = runtime.block_on(Contract::served(&world));
    let restores = runtime.block_on(two_restores(&world, &contract));
    let schema: Value = restore_model::schema::text("restore-request")
        .and_then(|text| serde_json::from_str(text).ok())
        .expect("a schema");

    let operations: Vec<_> = contract
        .calls()
        .into_iter()
        .map(|operation| {
            // Where more can be said, more is tried.
            let weight = if operation.0 == "POST" { 4 } else { 1 };
            (weight, cases(&contract, &schema, operation, &restores))
        })
        .collect();
    // The same cases every time: what a change breaks, it breaks for everybody.
    let config =
        Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    // The only one that takes a special moment was seen there.
    let good = RefCell::new(BTreeSet::from(["DELETE /api/v1/restores/{id}".to_owned()]));
    let statuses = RefCell::new(BTreeSet::new());
    let held = runner.run(&proptest::strategy::Union::new_weighted(operations), |case| {
        let answer = runtime.block_on(send(&world, &case));
        prop_assert!(answer.status < 500 || answer.status == 503, "{}", answer.text());
        contract.check(&case.method, &case.template, &answer).map_err(TestCaseError::fail)?;
        statuses.borrow_mut().insert(answer.status);
        if answer.status < 300 {
            good.borrow_mut().insert(format!("{} {}", case.method, case.template));
        }
        Ok(())
    });
    held.unwrap_or_else(|why| panic!("{why}"));

    let all: BTreeSet<_> =
        contract.calls().into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(*good.borrow(), all, "some operation was never seen to succeed");
    let seen = statuses.borrow();
    for status in [200, 202, 400, 404, 409, 413, 415, 422] {
        assert!(seen.contains(&status), "{status} is not among {seen:?}: the requests are too tame");
    }
    drop(seen);
    runtime.block_on(world.end());
}

#[tokio::test]
async fn a_method_that_the_contract_does_not_list_is_refused_with_those_it_does() {
    let world = World::new().await;
    let contract = Contract::served(&world).await;
    let operations = contract.operations();
    let paths: BTreeSet<_> = operations.iter().map(|(_, path)| path).collect();
    for template in paths {
        let mut listed: BTreeSet<&str> = operations
            .iter()
            .filter(|(_, path)| path == template)
            .map(|(method, _)| method.as_str())
            .collect();
        if listed.contains("GET") {
            listed.insert("HEAD");
        }
        let path = template.replace("{id}", "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e");
        let path = path.replace("{name}", "restore").replace("{code}", "internal");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"]
        {
            // As bytes: a client has its own ideas of what has a body.
            let mut raw = Raw::open(world.gateway.api()).await;
            raw.send(format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n")).await;
            if method == "HEAD" {
                continue;
            }
            let answer = raw.answer().await.expect("an answer");
            if listed.contains(method) {
                assert_ne!(answer.status, 405, "{method} {path}");
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert_eq!(answer.json()["code"], "method_not_allowed");
            assert!(
                answer.head.contains("\r\ncontent-type: application/problem+json\r\n"),
                "{}",
                answer.head
            );
            assert!(answer.head.contains("\r\nx-request-id: "), "{}", answer.head);
            let allow = answer.head.split("\r\nallow: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let allow = allow.unwrap_or_default().to_uppercase();
            assert_eq!(allow.split(", ").collect::<BTreeSet<_>>(), listed, "{method} {path}");
        }
    }
    world.end().await;
}
