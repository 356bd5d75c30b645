//! The documents of the API: OpenAPI, JSON Schemas, the page `/docs` and one page for each problem. Everything is part of
//! the binary, and only `/docs` has scripts.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, header};
use restore_model::{Code, Problem, schema};
use sha2::{Digest, Sha256};

use crate::web::answer::{self, Answer, Failure};

mod contract;
mod docs;
mod problems;

pub(super) use docs::{docs, docs_file};
pub(super) use problems::problem;

/// The source of the contract: [`contract::CONTRACT`] is what is served.
pub(crate) const OPENAPI: &str = include_str!("../../openapi.json");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SCHEMA: HeaderValue = HeaderValue::from_static("application/schema+json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

const STYLE: &str = include_str!("documents/page.css");
static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| format!("sha256-{}", STANDARD.encode(Sha256::digest(STYLE.as_bytes()))));
/// Pages but `/docs` carry this one style and nothing else: no script, no picture, nothing from elsewhere.
static CSP: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = &*STYLE_HASH;
    let policy = format!(
        "default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // Base64 and words of ours: it is a header's value; without one a page has no style.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The OpenAPI document of the API: self-contained, as `GET /openapi.json` serves it.
#[must_use]
pub fn openapi_text() -> &'static str {
    &contract::CONTRACT
}

/// `GET /openapi.json`.
pub(super) fn openapi() -> Answer {
    answer::document(JSON, &Bytes::from_static(openapi_text().as_bytes()))
}

/// `GET /schemas/{name}`, with or without `.json`.
pub(super) fn schema(name: Option<&str>) -> Result<Answer, Failure> {
    let name = name.unwrap_or_default();
    let text = schema::text(name.strip_suffix(".json").unwrap_or(name)).ok_or_else(|| {
        let names: Vec<_> = schema::ALL.iter().map(|(name, _)| *name).collect();
        Problem::new(Code::NotFound, format!("the schemas are {}", names.join(", ")))
    })?;
    Ok(answer::document(SCHEMA, &Bytes::from_static(text.as_bytes())))
}

/// The text of a page: `beside` are the links that lead around, `body` is what it says. Both are HTML already. Made once
/// for each page, because whoever asks for it holds it for as long as it is not read.
fn page(title: &str, beside: &str, body: &str) -> Bytes {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title><style>{STYLE}</style></head><body>\
         <nav aria-label=\"Pages\">{beside}</nav><main>{body}</main></body></html>",
        escape(title)
    );
    html.into()
}

/// The answer that is a page.
fn show(page: &Bytes) -> Answer {
    let mut answer = answer::document(HTML, page);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, CSP.clone());
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
