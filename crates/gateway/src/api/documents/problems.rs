//! The pages to which the `type` of a problem leads.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{ACCEPT, VARY};
use http::{HeaderMap, HeaderValue};
use restore_model::{Code, Problem, Retry};
use serde_json::json;

use super::{JSON, escape, page, show};
use crate::web::answer::{self, Answer, Failure};

/// `GET /problems/{code}`: for people, unless a program asks for JSON and for no HTML.
pub(in crate::api) fn problem(code: Option<&str>, headers: &HeaderMap) -> Result<Answer, Failure> {
    let code = code.and_then(|code| Code::ALL.iter().find(|known| known.as_str() == code));
    let code = *code.ok_or_else(|| Problem::new(Code::NotFound, "no such problem; /docs lists them all"))?;
    let Some(Description { programs, people, .. }) = ALL.iter().find(|description| description.code == code)
    else {
        return Err(Problem::new(Code::Internal, "this problem has no page").into());
    };
    let mut answer = if wants_json(headers) { answer::document(JSON, programs) } else { show(people) };
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(answer)
}

/// Description of one problem.
struct Description {
    code: Code,
    programs: Bytes,
    people: Bytes,
}

static ALL: LazyLock<Vec<Description>> = LazyLock::new(|| {
    let description =
        |code: &Code| Description { code: *code, programs: for_programs(*code), people: for_people(*code) };
    Code::ALL.iter().map(description).collect()
});

fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = accepted.flat_map(|value| value.split(','));
    let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let (mut json, mut html) = (false, false);
    for kind in kinds.by_ref() {
        json |= kind == "application/json" || kind == "application/problem+json";
        html |= kind == "text/html";
    }
    json && !html
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn for_programs(code: Code) -> Bytes {
    let description = json!({
        "type": format!("/problems/{}", code.as_str()),
        "code": code.as_str(),
        "title": code.title(),
        "status": code.status(),
        "retry": code.retry(),
        "advice": code.advice(),
    });
    description.to_string().into()
}

fn for_people(code: Code) -> Bytes {
    let retry = match code.retry() {
        Retry::Never => "Not without a change.",
        Retry::Later => "Later, when the cause has passed.",
        Retry::Now => "At once.",
    };
    let example = Problem::new(code, "a sentence about this failure");
    let example = answer::problem_body(&example, "/api/v1/restores", None);
    let example = serde_json::to_string_pretty(&example).unwrap_or_default();
    let (word, title) = (escape(code.as_str()), escape(&sentence(code.title())));
    let body = format!(
        "<p class=\"over\">Problem · HTTP status {status}</p><h1>{title}</h1><p><code>{word}</code></p>\
         <h2>What happened</h2><p>{title}. The member <code>detail</code> of the response describes the failure. If \
         the request is invalid, <code>errors</code> names each invalid place.</p>\
         <h2>Was anything changed in the cloud?</h2><p>The member <code>effect</code> of the response answers this:</p><dl>\
         <dt><code>none</code></dt><dd>No. Nothing was sent, or it is proven that it was not applied.</dd>\
         <dt><code>possible</code></dt><dd>Not known yet. Do not send the request again: ask for the restore. The gateway polls the cloud.</dd>\
         <dt><code>done</code></dt><dd>Yes. Disks were overwritten, at least in part.</dd></dl>\
         <h2>What to do</h2><p>{advice}</p>\
         <h2>May the same request be sent again?</h2><p>{retry} The members <code>retry</code> and <code>retry_after</code> of the \
         response are more exact. <code>retry_after</code> is in seconds.</p>\
         <h2>Example</h2><pre>{example}</pre>",
        status = code.status(),
        advice = escape(code.advice()),
        example = escape(&example),
    );
    let beside = "<a class=\"home\" href=\"/docs\">restore-gateway</a><a href=\"/docs#problems\">All problems</a>\
         <a href=\"/docs#calls\">Calls</a><a href=\"/openapi.json\">OpenAPI</a>";
    page(code.title(), beside, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_who_asks_for_it_and_for_no_page() {
        let wants = |value: &'static str| {
            wants_json(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]))
        };
        assert!(wants("application/json") && wants("application/problem+json;q=0.9, */*"));
        assert!(!wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(!wants("text/html, application/json") && !wants("*/*") && !wants_json(&HeaderMap::new()));
    }
}
