//! Rules for webhooks: permitted receivers and their secrets.
//!
//! The addresses behind a name are not known here and may change: every delivery checks them again. These rules find
//! the obvious cases, so that the operator does not learn about a permanently rejected receiver only from missing
//! messages.

use http::Uri;
use restore_upstream::{SigningKey, is_public, literal_address};
use serde_json::Value;

use super::rows;
use crate::faults::Code;
use crate::report::Report;
use crate::values::{HookUrl, Secret};

pub(super) fn check(tree: &Value, report: &mut Report<'_>) {
    let rows = rows(tree, "webhooks");
    for (index, webhook) in rows.iter().enumerate() {
        let path = |key: &str| format!("webhooks[{index}].{key}");
        let name = webhook["name"].as_str();
        if let (Some(name), Some(first)) =
            (name, rows[..index].iter().position(|other| other["name"].as_str() == name))
        {
            report.error(
                &path("name"),
                Code::DuplicateName,
                format!("`{name}` is the name of `webhooks[{first}]` already"),
                Some("messages are kept under the name: give each its own".to_owned()),
            );
        }
        if !report.is_faulty(&path("secret"))
            && let Some(secret) = Secret::text_of(&webhook["secret"])
            && let Err(why) = SigningKey::parse(secret)
        {
            let help = "generate one with: echo whsec_$(openssl rand -base64 32)".to_owned();
            report.error(&path("secret"), Code::BadValue, format!("the secret {why}"), Some(help));
        }
        // The URL often contains a credential, so no error shows a line of the file with it.
        if webhook["url"].as_str().and_then(|url| url.parse().ok()).is_some_and(|url| HookUrl::hides(&url)) {
            report.strike_at(&path("url"));
        }
        let allowed = webhook["allow_private_addresses"].as_bool() != Some(false);
        if !allowed && let Some(Ok(url)) = webhook["url"].as_str().map(str::parse) {
            receiver(&url, &path("url"), report);
        }
    }
}

fn receiver(url: &Uri, path: &str, report: &mut Report<'_>) {
    if url.scheme_str() == Some("http") {
        report.error(
            path,
            Code::Cleartext,
            "http without tls",
            Some("what becomes of restores would travel in clear: use https".to_owned()),
        );
    }
    if url.host().and_then(literal_address).is_some_and(|address| !is_public(address)) {
        report.error(
            path,
            Code::PrivateReceiver,
            "the receiver is on this machine or in a private network",
            Some(
                "the author of the configuration could reach services that only the gateway can reach: name a public host, or set \
                 `allow_private_addresses = true`"
                    .to_owned(),
            ),
        );
    }
}
