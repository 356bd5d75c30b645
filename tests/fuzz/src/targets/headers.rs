//! What stands in headers, URLs and other single values: each reader gets the same text.

use jiff::fmt::strtime;
use restore_generations::Reply;
use restore_ledger::LedgerUrl;
use restore_model::state::Status;
use restore_model::{RestoreId, Timestamp};
use restore_upstream::{SigningKey, TraceContext, is_public, literal_address, retry_after};

pub(crate) const MAX_LEN: usize = 512;

/// Written behind what may be a secret: a fault that repeats any of it repeats this. Pieces of the
/// faults' own texts, which the fuzzer finds, would otherwise look like a repetition.
const MARK: &str = "zq7Xcanary";

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    trace(first, rest);
    wait(first, rest);
    moment(data, first);
    ledger(first);
    address(first);
    if let Err(why) = SigningKey::parse(&format!("{first}{MARK}")) {
        assert!(!why.contains(MARK), "{why}");
    }
    if let Ok(id) = first.parse::<RestoreId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Some(status) = Status::from_word(first) {
        assert_eq!(status.as_str(), first);
    }
}

fn trace(parent: &str, state: &str) {
    let Some(context) = TraceContext::parse(parent, Some(state)) else { return };
    assert!(context.trace_id != 0 && context.span_id != 0);
    assert_eq!((context.trace_id_hex().len(), context.span_id_hex().len()), (32, 16));
    assert!(context.state.as_ref().is_none_or(|kept| kept == state && kept.len() <= 512));
    let written = context.to_string();
    let again = TraceContext::parse(&written, Some(state));
    assert_eq!(again.as_ref(), Some(&context), "{written}");
    assert!(parent.trim()[2..].starts_with(&written[2..53]), "{parent} became {written}");
}

fn wait(value: &str, date: &str) {
    let date = date.parse::<Timestamp>().ok();
    let reply = |value: &str| Reply { retry_after: Some(value.to_owned()), date, ..Reply::default() };
    let wait = retry_after(&reply(value));
    assert!(wait.is_none() || !value.is_empty());
    if let Ok(seconds) = value.parse::<u32>()
        && !value.starts_with('+')
    {
        assert_eq!(wait.map(|wait| wait.as_secs()), Some(seconds.into()));
    }
    // A date is measured against the cloud's own clock, and against nothing else.
    if let (Some(now), Some(_)) = (date, wait) {
        let later = Timestamp::from_micros(now.as_micros().saturating_add(1_000_000));
        let then = retry_after(&Reply { date: Some(later), ..reply(value) });
        assert!(then <= wait, "a later clock makes no longer wait");
    }
}

/// Moments are written by hand, for speed, and must be written as the library writes them.
fn moment(data: &[u8], text: &str) {
    if let Some(bytes) = data.first_chunk::<8>() {
        let moment = Timestamp::from_micros(i64::from_be_bytes(*bytes));
        assert_eq!(moment.to_string(), moment.to_jiff().to_string());
        let first = strtime::format("%Y-%m-%dT%H:%M:%S", moment.to_jiff()).unwrap_or_default();
        assert!(moment.to_string().starts_with(&first) || moment.as_micros() < 0, "{moment} is no {first}");
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        assert_eq!(moment.to_string().parse::<Timestamp>().ok(), Some(moment), "{text}");
        assert_eq!(moment.micros_since(moment), 0);
    }
}

fn ledger(text: &str) {
    if let Ok(url) = text.parse::<LedgerUrl>() {
            assert_eq!(url.to_string().parse(), Ok(url.clone()), "{text}");
            assert_eq!(url.to_string(), text);
            if let LedgerUrl::Postgres(_) = url {
                // Who is shown a URL is shown no password: a user is all that stands before the host.
                let place = text.split(['?', '#']).next().unwrap_or_default();
                let authority = place.split('/').nth(2).unwrap_or_default();
                let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
                assert!(!user.contains(':'), "{text}");
            }
        }
    if let Err(why) = format!("{text}{MARK}").parse::<LedgerUrl>() {
        assert!(!why.to_string().contains(MARK), "{why}");
    }
}

fn address(host: &str) {
    let Some(address) = literal_address(host) else {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        assert!(bare.parse::<std::net::IpAddr>().is_err(), "{host} is an address");
        return;
    };
    // However it is spelt, it is the same address.
    assert_eq!(literal_address(&address.to_string()), Some(address));
    assert!(!address.is_loopback() || !is_public(address), "{address}");
    assert!(!address.is_unspecified() || !is_public(address), "{address}");
    assert!(!address.is_multicast() || !is_public(address), "{address}");
}
