//! `/docs`: the contract as a page, so that both say the same, with lines that can be run against the demo.

use std::fmt::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use restore_generations::matrix::{self, Fate};
use restore_generations::source_api;
use restore_model::{Code, schema};
use serde_json::Value;

use super::{OPENAPI, escape, page, show};
use crate::web::answer::Answer;

/// What the lines to run begin with: the demo's address and token, and the id of its newest restore.
const BEGINNING: &str = r#"GATEWAY=http://127.0.0.1:8080
TOKEN=demo-token
ID=$(curl -s "$GATEWAY/api/v1/restores?limit=1" |
  grep -o '"id":"[^"]*"' | head -n 1 | cut -d '"' -f 4)"#;

/// `GET /docs`.
pub(in crate::api) fn docs() -> Answer {
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
        let contract: Value = serde_json::from_str(OPENAPI).unwrap_or_default();
        page("restore-gateway", &beside(&contract), &body(&contract))
    });
    show(&PAGE)
}

/// Every call of the contract: path, what all methods of it share, method, operation.
fn operations(contract: &Value) -> impl Iterator<Item = (&String, &Value, &String, &Value)> {
    contract["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten().filter(|(name, _)| *name != "parameters");
        methods.map(move |(method, operation)| (path, &item["parameters"], method, operation))
    })
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn beside(contract: &Value) -> String {
    let mut links = "<a class=\"home\" href=\"/docs\">restore-gateway</a><a href=\"/docs#run\">Try it</a>\
         <a href=\"/docs#calls\">Calls</a>"
        .to_owned();
    for (path, _, method, operation) in operations(contract) {
        let (method, id) = (escape(&method.to_uppercase()), text(&operation["operationId"]));
        let short = escape(path.trim_start_matches("/api/v1"));
        let _ = write!(links, "<a class=\"call\" href=\"/docs#{id}\"><b>{method}</b> {short}</a>");
    }
    links.push_str(
        "<a href=\"/docs#source_apis\">Source APIs</a><a href=\"/docs#schemas\">Schemas</a>\
         <a href=\"/docs#problems\">Problems</a><a href=\"/openapi.json\">OpenAPI</a>",
    );
    links
}

fn body(contract: &Value) -> String {
    let mut body = format!(
        "<h1>{}</h1><p>{}</p><h2 id=\"run\">Try it</h2><p>Each operation below has a command. The commands are for the demo, \
         which serves a gateway and simulated clouds on loopback: <code>restore-gateway demo</code>. Start with this in a shell:</p>\
         <pre class=\"run\">{}</pre><h2 id=\"calls\">Calls</h2>",
        text(&contract["info"]["title"]),
        text(&contract["info"]["description"]),
        escape(BEGINNING),
    );
    for (path, shared, method, operation) in operations(contract) {
        call(&mut body, contract, path, shared, method, operation);
    }
    source_apis(&mut body);
    body.push_str("<h2 id=\"schemas\">Schemas</h2><ul>");
    for (name, _) in schema::ALL {
        let _ = write!(body, "<li><a href=\"/schemas/{name}\">{name}</a></li>");
    }
    body.push_str(
        "</ul><h2 id=\"problems\">Problems</h2><table><tr><th>code</th><th>status</th><th>what happened</th></tr>",
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
    body.push_str("</table>");
    body
}

/// One call: what it does, what it takes, a line to run, what it answers.
fn call(body: &mut String, contract: &Value, path: &str, shared: &Value, method: &str, operation: &Value) {
    let verb = method.to_uppercase();
    let _ = write!(
        body,
        "<section id=\"{}\"><h3><code><b>{}</b> {}</code></h3><p>{} {}</p>",
        text(&operation["operationId"]),
        escape(&verb),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"]),
    );
    let lists = [shared, &operation["parameters"]];
    let parameters: Vec<&Value> = lists.iter().filter_map(|list| list.as_array()).flatten().collect();
    if !parameters.is_empty() {
        body.push_str("<table>");
        for parameter in &parameters {
            let _ = write!(
                body,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"]),
            );
        }
        body.push_str("</table>");
    }
    let sent = operation.pointer("/requestBody/content/application~1json");
    if let Some(name) = sent.and_then(|sent| sent["schema"]["$ref"].as_str()) {
        let name = escape(name);
        let _ = write!(body, "<p>The body is a <a href=\"{name}\"><code>{name}</code></a>.</p>");
    }
    let line = line(path, &verb, &parameters, sent.map(|sent| &sent["example"]));
    let _ = write!(body, "<pre class=\"run\">{}</pre><table>", escape(&line));
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let answer = resolved(contract, answer);
        let _ = write!(
            body,
            "<tr><td><code>{}</code></td><td>{}</td></tr>",
            escape(status),
            text(&answer["description"])
        );
    }
    body.push_str("</table></section>");
}

/// A line of a shell that makes a call, with the contract's examples; the token where the call takes one, and `$ID`
/// where the contract cannot know what there is.
fn line(path: &str, verb: &str, parameters: &[&Value], body: Option<&Value>) -> String {
    let mut path = path.to_owned();
    let (mut query, mut headers) = (String::new(), String::new());
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let example = match &parameter["example"] {
            Value::String(example) => Some(example.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        match (parameter["in"].as_str().unwrap_or_default(), example) {
            ("path", example) => {
                path = path.replace(&format!("{{{name}}}"), example.as_deref().unwrap_or("$ID"));
            }
            ("query", Some(example)) => {
                let mark = if query.is_empty() { '?' } else { '&' };
                let _ = write!(query, "{mark}{name}={example}");
            }
            ("header", _) if name == "X-Auth-Token" => headers.push_str(" -H \"X-Auth-Token: $TOKEN\""),
            ("header", Some(example)) => {
                let _ = write!(headers, " -H '{name}: {example}'");
            }
            _ => {}
        }
    }
    let method = if verb == "DELETE" { " -X DELETE" } else { "" };
    let mut line = format!("curl -s{method} \"$GATEWAY{path}{query}\"{headers}");
    if let Some(body) = body {
        let body = serde_json::to_string_pretty(body).unwrap_or_default();
        let _ = write!(line, " \\\n  -H 'Content-Type: application/json' -d '{body}'");
    }
    line
}

/// What comes of each source API at each generation, out of what these say of themselves.
fn source_apis(body: &mut String) {
    body.push_str(
        "<h2 id=\"source_apis\">Source APIs</h2><p>What a restore through each source API becomes, by the generation \
         that carries it out. A target that a source API does not support has no row.</p><table><tr><th>source API</th>\
         <th>generation</th><th>target</th><th>verdict</th><th>if</th><th>lost</th></tr>",
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

/// What a reference within the contract stands for; anything else stands for itself.
fn resolved<'a>(contract: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| contract.pointer(pointer)).unwrap_or(value)
}
