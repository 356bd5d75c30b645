//! `/docs`: the API in Swagger UI, with indexes of source APIs, schemas and problems.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, header};
use restore_generations::matrix::{self, Fate};
use restore_generations::source_api;
use restore_model::{Code, Problem, schema};

use super::{STYLE_HASH, escape, page};
use crate::web::answer::{self, Answer, Failure};

const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

const VIEWER: &str = include_str!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js"));
const VIEWER_STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/swagger-ui.css"));
const START: &str = include_str!("docs.js");
const STYLE: &str = include_str!("docs.css");

/// The page runs the scripts of this gateway, calls this gateway, and reaches nothing else. Swagger UI has its icons as
/// `data:` in its style.
static CSP: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' '{}'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        *STYLE_HASH
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// `GET /docs`.
pub(in crate::api) fn docs() -> Answer {
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| page("restore-gateway", LINKS, &body()));
    let mut answer = super::show(&PAGE);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, CSP.clone());
    answer
}

/// `GET /docs/{file}`.
pub(in crate::api) fn docs_file(name: Option<&str>) -> Result<Answer, Failure> {
    let file = |kind, text: &'static str| Ok(answer::document(kind, &Bytes::from_static(text.as_bytes())));
    match name.unwrap_or_default() {
        "docs.css" => file(CSS, STYLE),
        "docs.js" => file(SCRIPT, START),
        "swagger-ui-bundle.js" => file(SCRIPT, VIEWER),
        "swagger-ui.css" => file(CSS, VIEWER_STYLE),
        _ => Err(Problem::new(Code::NotFound, "the page /docs has no such file").into()),
    }
}

const LINKS: &str = "<a class=\"home\" href=\"/docs\">restore-gateway</a><a href=\"/docs#calls\">Calls</a>\
     <a href=\"/docs#source_apis\">Source APIs</a><a href=\"/docs#schemas\">Schemas</a>\
     <a href=\"/docs#problems\">Problems</a><a href=\"/openapi.json\">OpenAPI</a>";

fn body() -> String {
    let mut body = "<link rel=\"stylesheet\" href=\"/docs/swagger-ui.css\"><link rel=\"stylesheet\" href=\"/docs/docs.css\">\
         <h1>restore-gateway</h1>\
         <p class=\"over\">Execute sends the request to this gateway. A restore overwrites disks, and nobody can undo it. To try \
         calls without a cloud, run <code>restore-gateway demo</code>; its token is <code>demo-token</code>.</p>\
         <section id=\"calls\"><h2>Calls</h2><noscript>Calls need JavaScript. <a href=\"/openapi.json\">The OpenAPI document</a> describes \
         them too.</noscript><div id=\"viewer\"></div></section>"
        .to_owned();
    source_apis(&mut body);
    body.push_str("<h2 id=\"schemas\">Schemas</h2><ul>");
    for (name, _) in schema::ALL {
        let _ = write!(body, "<li><a href=\"/schemas/{name}\">{name}</a></li>");
    }
    body.push_str(
        "</ul><h2 id=\"problems\">Problems</h2><table><tr><th>code</th><th>status</th><th>title</th></tr>",
    );
    for code in Code::ALL {
        let _ = write!(
            body,
            "<tr><td><a href=\"/problems/{0}\"><code>{0}</code></a></td><td>{1}</td><td>{2}</td></tr>",
            code.as_str(),
            code.status(),
            escape(code.title()),
        );
    }
    body.push_str(
        "</table><script src=\"/docs/swagger-ui-bundle.js\"></script><script src=\"/docs/docs.js\"></script>",
    );
    body
}

/// Adds a table with the verdict for each pair of source API and generation.
fn source_apis(body: &mut String) {
    body.push_str(
        "<h2 id=\"source_apis\">Source APIs</h2><p>Each row is a restore through a source API, carried out by a generation. A \
         source API that does not support a target has no row for it.</p><table><tr><th>source API</th><th>generation</th>\
         <th>target</th><th>verdict</th><th>condition</th><th>dropped fields</th></tr>",
    );
    let list = |items: &mut dyn Iterator<Item = &str>| items.map(escape).collect::<Vec<_>>().join("<br>");
    for endpoint in source_api::ALL {
        for generation in restore_generations::ALL {
            let cells = matrix::cells(*endpoint, *generation);
            for cell in cells.iter().filter(|cell| cell.verdict != Fate::Unspeakable) {
                let _ = write!(
                    body,
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    endpoint.source_api(),
                    generation.name(),
                    cell.target.as_str(),
                    cell.verdict.as_str().replace('_', " "),
                    list(&mut cell.conditions.iter().copied()),
                    list(&mut cell.lost.iter().map(String::as_str)),
                );
            }
        }
    }
    body.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::OPENAPI;
    use super::*;

    /// Calls `check` with the name of each schema of a body and the examples beside it.
    fn examples(contract: &Value, value: &Value, check: &mut dyn FnMut(&str, &Value)) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| examples(contract, item, check)),
            Value::Object(members) => {
                let schema = value.pointer("/schema/$ref").and_then(Value::as_str);
                if let Some(name) = schema.and_then(|reference| reference.strip_prefix("/schemas/")) {
                    members.get("example").into_iter().for_each(|example| check(name, example));
                    for example in members.get("examples").and_then(Value::as_object).into_iter().flatten() {
                        let pointer =
                            example.1["$ref"].as_str().expect("a reference").trim_start_matches('#');
                        check(name, &contract.pointer(pointer).expect("an example")["value"]);
                    }
                }
                members.values().for_each(|value| examples(contract, value, check));
            }
            _ => {}
        }
    }

    #[test]
    fn contract_examples_match_their_schemas() {
        let contract: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let mut seen = std::collections::BTreeMap::new();
        examples(&contract, &contract, &mut |name, example| {
            let validator = schema::compile(schema::text(name).expect("a schema")).expect("a schema");
            let faults = schema::faults(&validator, example);
            assert!(faults.is_empty(), "{name}: {faults:?}: {example}");
            if name == "problem" {
                let code = Code::ALL.iter().find(|code| example["code"] == code.as_str()).expect("a code");
                assert_eq!(example["title"], code.title());
                assert_eq!(example["status"], code.status());
            }
            *seen.entry(name.to_owned()).or_insert(0) += 1;
        });
        // Every schema has one.
        let missing: Vec<_> = schema::ALL.iter().filter(|(name, _)| !seen.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}: {seen:?}");
    }
}
