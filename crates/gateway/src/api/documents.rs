//! What the gateway says about itself: the OpenAPI document, the JSON Schemas, a page for people
//! and one for each problem. Everything is in the binary; nothing is fetched, nothing is scripted.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use restore_generations::door;
use restore_generations::matrix::{self, Fate};
use restore_model::{Code, Problem, schema};
use serde_json::Value;

use crate::answer::{self, Answer, Failure};

/// The contract, as it stands in the tree.
pub(crate) const OPENAPI: &str = include_str!("../../openapi.json");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SCHEMA: HeaderValue = HeaderValue::from_static("application/schema+json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// Pages carry their own style and nothing else.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f3f4f6;border-radius:4px;padding:.1em .3em}\
pre{padding:.8em;overflow:auto}h2{margin-top:2rem;border-bottom:1px solid #d0d7de}td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}code,pre{background:#161b22}h2{border-color:#30363d}a{color:#58a6ff}}";

/// `GET /openapi.json`.
pub(super) fn openapi() -> Answer {
    answer::typed(StatusCode::OK, JSON, Bytes::from_static(OPENAPI.as_bytes()))
}

/// `GET /schemas/{name}`, with or without `.json`.
pub(super) fn schema(name: Option<&str>) -> Result<Answer, Failure> {
    let name = name.unwrap_or_default();
    let text = schema::text(name.strip_suffix(".json").unwrap_or(name)).ok_or_else(|| {
        let names: Vec<_> = schema::ALL.iter().map(|(name, _)| *name).collect();
        Problem::new(Code::NotFound, format!("the schemas are {}", names.join(", ")))
    })?;
    Ok(answer::typed(StatusCode::OK, SCHEMA, Bytes::from_static(text.as_bytes())))
}

/// `GET /problems/{code}`: what the `type` of a problem leads to.
pub(super) fn problem(code: Option<&str>) -> Result<Answer, Failure> {
    let code = code.and_then(|code| Code::ALL.iter().find(|known| known.as_str() == code));
    let code = code.ok_or_else(|| Problem::new(Code::NotFound, "no such problem; /docs lists them all"))?;
    let retry = match code.retry() {
        restore_model::Retry::Never => "Not without a change.",
        restore_model::Retry::Later => "Later, once what stood in the way has passed.",
        restore_model::Retry::Now => "At once.",
    };
    let body = format!(
        "<h1>{}</h1><p><code>{}</code>, HTTP status {}</p><h2>What to do</h2><p>{}</p>\
         <h2>Was anything changed in the cloud?</h2><p>The member <code>effect</code> of the answer tells: \
         <code>none</code>, <code>possible</code> or <code>done</code>.</p>\
         <h2>May the same request be sent again?</h2><p>{retry} The member <code>retry</code> of the answer may know better.</p>\
         <p><a href=\"/docs\">All problems</a></p>",
        escape(code.title()),
        escape(code.as_str()),
        code.status(),
        escape(code.advice()),
    );
    Ok(page(code.title(), &body))
}

/// `GET /docs`.
pub(super) fn docs() -> Answer {
    static BODY: LazyLock<String> = LazyLock::new(docs_body);
    page("restore-gateway", &BODY)
}

/// The page, made out of the contract, so that both say the same.
fn docs_body() -> String {
    let contract: Value = serde_json::from_str(OPENAPI).unwrap_or_default();
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let mut body = format!(
        "<h1>{}</h1><p>{}</p>",
        text(&contract["info"]["title"]),
        text(&contract["info"]["description"])
    );
    body.push_str("<p><a href=\"/openapi.json\">OpenAPI document</a></p><h2>Calls</h2>");
    for (path, item) in contract["paths"].as_object().into_iter().flatten() {
        for (method, operation) in
            item.as_object().into_iter().flatten().filter(|(name, _)| *name != "parameters")
        {
            let _ = write!(
                body,
                "<h3><code>{} {}</code></h3><p>{}</p><p>{}</p>",
                escape(&method.to_uppercase()),
                escape(path),
                text(&operation["summary"]),
                text(&operation["description"]),
            );
            if let Some(example) = operation.pointer("/requestBody/content/application~1json/example") {
                let example = serde_json::to_string_pretty(example).unwrap_or_default();
                let _ = write!(body, "<pre>{}</pre>", escape(&example));
            }
            body.push_str("<table>");
            for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
                let answer = resolved(&contract, answer);
                let _ = write!(
                    body,
                    "<tr><td><code>{}</code></td><td>{}</td></tr>",
                    escape(status),
                    text(&answer["description"])
                );
            }
            body.push_str("</table>");
        }
    }
    dialects(&mut body);
    body.push_str("<h2>Schemas</h2><ul>");
    for (name, _) in schema::ALL {
        let _ = write!(body, "<li><a href=\"/schemas/{name}\">{name}</a></li>");
    }
    body.push_str("</ul><h2>Problems</h2><table><tr><th>code</th><th>status</th><th></th></tr>");
    for code in Code::ALL {
        let _ = write!(
            body,
            "<tr><td><a href=\"/problems/{0}\"><code>{0}</code></a></td><td>{1}</td><td>{2}</td></tr>",
            code.as_str(),
            code.status(),
            escape(code.title()),
        );
    }
    body.push_str("</table>");
    body
}

/// What comes of each dialect at each generation, out of what these say of themselves.
fn dialects(body: &mut String) {
    body.push_str(
        "<h2>Native dialects</h2><p>What comes of a restore that a program asks for in its own dialect, by the generation \
         that carries it out. Where a dialect has no word for a kind of target, there is no row.</p><table><tr><th>dialect</th>\
         <th>generation</th><th>target</th><th>verdict</th><th>if</th><th>lost</th></tr>",
    );
    let list = |items: &mut dyn Iterator<Item = &str>| items.map(escape).collect::<Vec<_>>().join("<br>");
    for door in door::ALL {
        for generation in restore_generations::ALL {
            let cells = matrix::cells(*door, *generation);
            for cell in cells.iter().filter(|cell| cell.verdict != Fate::Unspeakable) {
                let _ = write!(
                    body,
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    door.dialect(),
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

/// What a reference within the contract stands for; anything else stands for itself.
fn resolved<'a>(contract: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| contract.pointer(pointer)).unwrap_or(value)
}

fn page(title: &str, body: &str) -> Answer {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body>{body}</body></html>",
        escape(title)
    );
    let mut answer = answer::typed(StatusCode::OK, HTML, html);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, CSP);
    answer
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
