//! The console: one page on the admin listener for the operator on call. The binary contains the plain files of this folder;
//! nothing is built, and nothing is loaded from elsewhere.
//!
//! Place: beside the admin pages. The files contain no restores, so everybody may load them. The page reads restores from the
//! same listener as any client, with the credential that the operator types. Its content policy allows only the
//! scripts of this folder, and no HTML made of text.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderName, HeaderValue};

use crate::web::answer::{self, Answer};

/// Path, type and text of each file.
const FILES: [(&str, &str, &str); 7] = [
    ("/console", "text/html; charset=utf-8", include_str!("console.html")),
    ("/console.css", "text/css; charset=utf-8", include_str!("console.css")),
    ("/console.js", "text/javascript; charset=utf-8", include_str!("console.js")),
    ("/console-ask.js", "text/javascript; charset=utf-8", include_str!("console-ask.js")),
    ("/console-parts.js", "text/javascript; charset=utf-8", include_str!("console-parts.js")),
    ("/console-words.js", "text/javascript; charset=utf-8", include_str!("console-words.js")),
    ("/console.svg", "image/svg+xml", include_str!("console.svg")),
];

/// Nothing from elsewhere, nothing written into the page, and no text that becomes HTML or script.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// True if a path is one of the console's files.
pub(crate) fn has(path: &str) -> bool {
    FILES.iter().any(|(known, _, _)| *known == path)
}

/// The file at a path.
pub(crate) fn file(path: &str) -> Option<Answer> {
    let (_, kind, text) = FILES.iter().find(|(known, _, _)| *known == path)?;
    let text = Bytes::from_static(text.as_bytes());
    let mut answer = answer::document(HeaderValue::from_static(kind), &text);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, CSP);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_hold_nothing_that_their_policy_forbids() {
        for (path, _, text) in FILES {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write", "localStorage"]
            {
                assert!(!text.contains(word), "{path}: {word}");
            }
            for word in [" style=", " onclick=", " onload=", "@import", "url(", "https://"] {
                assert!(!text.contains(word), "{path}: {word}");
            }
        }
    }

    #[test]
    fn what_the_page_names_is_served() {
        let texts = FILES.iter().flat_map(|(_, _, text)| text.split('"'));
        let named = texts.filter(|word| word.starts_with("/console"));
        assert!(named.clone().count() >= 6);
        for path in named {
            assert!(has(path), "{path}");
        }
    }

    #[test]
    fn every_status_and_event_has_its_words() {
        let words = include_str!("console-words.js");
        for status in restore_model::Status::ALL {
            assert!(words.contains(&format!("  {}: {{", status.as_str())), "{}", status.as_str());
        }
        let model = include_str!("../../../model/src/event.rs");
        let events = model.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split('"').nth(1));
        assert!(events.clone().count() >= 20);
        for event in events {
            assert!(words.contains(&format!("case \"{event}\":")), "{event}");
        }
    }
}
