//! Checks that no single key allows: references, names, routes that hide each other, incompatible values.
//!
//! Rules work on the tree of [`super::reader`], which may contain invalid values. They ignore a value that they cannot
//! read: its error is already reported.

use std::net::SocketAddr;

use restore_generations::by_name;
use restore_upstream::is_loopback;
use serde_json::Value;

use super::faults::Code;
use super::nearest::nearest;
use super::report::Report;

pub(super) use callers::{knows_callers, remote_listeners};

mod callers;
mod compat_endpoints;
mod credentials;
mod shape;
mod urls;
mod ways;
mod webhooks;

/// Checks the tree as a whole, and fills in the defaults that depend on another key.
pub(super) fn check(tree: &mut Value, proxies: &[String], report: &mut Report<'_>) {
    urls::proxies(report, proxies);
    // Before all rules that compare addresses.
    urls::check(tree, report);
    listeners(tree, report);
    times(tree, report);
    retention(tree, report);
    proof_of_absence(tree, report);
    memory(tree, report);
    upstreams(tree, report);
    references(tree, report);
    reachable(tree, report);
    callers::check(tree, report);
    credentials::check(tree, report);
    compat_endpoints::check(tree, report);
    ways::check(tree, report);
    webhooks::check(tree, report);
    for (table, key) in ROUTE_DEFAULTS {
        let general = tree[table][key].clone();
        for route in tree["routes"].as_array_mut().into_iter().flatten() {
            if let Some(own @ Value::Null) = route.get_mut(key) {
                *own = general.clone();
            }
        }
    }
}

/// Keys that a route can override, and the table with the default.
const ROUTE_DEFAULTS: [(&str, &str); 3] = [
    ("polling", "overdue_seconds"),
    ("submit", "idempotency_key_ttl_seconds"),
    ("submit", "dedup_window_seconds"),
];

/// Returns a suggestion for a name that does not exist in a table.
fn instead<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone, table: &str) -> String {
    match (nearest(name, known.clone()), known.clone().next()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(_)) => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
        (None, None) => format!("there is no `[[{table}]]` at all"),
    }
}

pub(super) fn rows<'t>(tree: &'t Value, name: &str) -> &'t [Value] {
    tree[name].as_array().map_or(&[], Vec::as_slice)
}

fn listeners(tree: &Value, report: &mut Report<'_>) {
    let listen = &tree["listen"];
    let address = |key: &str| listen[key].as_str().and_then(|text| text.parse::<SocketAddr>().ok());
    if let (Some(api), Some(admin)) = (address("api"), address("admin"))
        && api == admin
        && api.port() != 0
    {
        let path = report.first_written(["listen.admin", "listen.api"]);
        let help = "give each listener its own port".to_owned();
        report.error(path, Code::Conflict, format!("both listeners have the address {api}"), Some(help));
    }
    let names = listen["allowed_hosts"].as_array().filter(|_| !report.is_faulty("listen.allowed_hosts"));
    for name in names.into_iter().flatten().filter_map(Value::as_str) {
        compat_endpoints::host_name("listen.allowed_hosts", name, report);
    }
}

fn times(tree: &Value, report: &mut Report<'_>) {
    const REQUEST: &str = "limits.request_timeout_seconds";
    if report.is_faulty(REQUEST) {
        return;
    }
    for key in ["limits.max_wait_seconds", "submit.sync_wait_seconds"] {
        let seconds = |path: &str| {
            let (table, key) = path.split_once('.')?;
            tree[table][key].as_f64()
        };
        if let (Some(wait), Some(request)) = (seconds(key), seconds(REQUEST))
            && wait >= request
            && !report.is_faulty(key)
        {
            let path = report.first_written([key, REQUEST]);
            let message = if path == key {
                format!("{wait} is not less than `{REQUEST}`, which is {request}")
            } else {
                format!("{request} is not more than `{key}`, which is {wait}")
            };
            let help =
                "the request would end before its answer: make one shorter or the other longer".to_owned();
            report.error(path, Code::Conflict, message, Some(help));
        }
    }
}

/// Checks that a restore is kept for as long as a window returns it.
fn retention(tree: &Value, report: &mut Report<'_>) {
    const RETENTION: &str = "ledger.retention_days";
    // For a signed request, an identical request counts as the same one while a signature is valid.
    const SIGNATURES: f64 = 1_800.0;
    let Some(days) = tree["ledger"]["retention_days"].as_u64().filter(|days| *days > 0) else { return };
    let mut windows: Vec<(String, f64)> = Vec::new();
    let mut add = |path: String, seconds: &Value| {
        windows.extend(seconds.as_f64().map(|seconds| (path, seconds)));
    };
    for key in ["dedup_window_seconds", "idempotency_key_ttl_seconds"] {
        add(format!("submit.{key}"), &tree["submit"][key]);
        for (index, route) in rows(tree, "routes").iter().enumerate() {
            add(format!("routes[{index}].{key}"), &route[key]);
        }
    }
    if rows(tree, "callers").iter().any(|caller| caller["type"] == "aksk") {
        windows.push(("callers".to_owned(), SIGNATURES));
    }
    windows.retain(|(path, _)| !report.is_faulty(path));
    let Some((path, longest)) = windows.into_iter().max_by(|one, other| one.1.total_cmp(&other.1)) else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "days are few")]
    let kept = days as f64 * 86_400.0;
    if kept < longest && !report.is_faulty(RETENTION) {
        let message = format!(
            "{days} days are shorter than `{path}`, which is {longest} s: a restore would be forgotten while the same request \
             still means it, and sent again"
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded by the bounds of windows"
        )]
        let least = (longest / 86_400.0).ceil() as u64;
        let help = format!("write at least {least}, or 0 for no end, or shorten the window");
        report.error(RETENTION, Code::Conflict, message, Some(help));
    }
}

/// Warns if an operator must decide before absence from a cloud's list can be proof. Absence counts after the time of
/// the longest send and `polling.absence_confirmation_seconds` together.
fn proof_of_absence(tree: &Value, report: &mut Report<'_>) {
    const KEYS: [&str; 2] = ["polling.operator_escalation_seconds", "polling.absence_confirmation_seconds"];
    let follow = &tree["polling"];
    let upstreams = rows(tree, "upstreams");
    let lists = upstreams
        .iter()
        .filter_map(|upstream| by_name(upstream["generation"].as_str()?))
        .any(restore_generations::Generation::lists_restores);
    // The engine waits for the longest send of all upstreams, whatever their generation.
    let sends = upstreams.iter().enumerate().filter_map(|(index, upstream)| {
        Some((upstream["send_timeout_seconds"].as_f64()?, format!("upstreams[{index}].send_timeout_seconds")))
    });
    let longest = sends.max_by(|one, other| one.0.total_cmp(&other.0));
    let (Some((send, of_send)), Some(settle), Some(unknown)) = (
        longest,
        follow["absence_confirmation_seconds"].as_f64(),
        follow["operator_escalation_seconds"].as_f64(),
    ) else {
        return;
    };
    let is_faulty = KEYS.iter().chain([&&*of_send]).any(|key| report.is_faulty(key));
    if !lists || is_faulty || unknown > send + settle {
        return;
    }
    let path = report.first_written([KEYS[0], report.first_written([KEYS[1], &of_send])]);
    let message = format!(
        "an operator is asked after {unknown} s, and absence from a cloud's list is proof only after {} s (the longest \
         `send_timeout_seconds` and `polling.absence_confirmation_seconds`)",
        send + settle
    );
    let help = "make `polling.operator_escalation_seconds` longer, or `polling.absence_confirmation_seconds` shorter; else an operator decides what \
                reads would have settled";
    report.warning(path, Code::Conflict, message, Some(help.to_owned()));
}

/// Warns about a memory limit below the use of an idle process: the gateway would reject every request with a body.
fn memory(tree: &Value, report: &mut Report<'_>) {
    const LEAST: u64 = 64 * 1_048_576;
    let bytes = tree["limits"]["max_memory_bytes"].as_u64().unwrap_or(0);
    if (1..LEAST).contains(&bytes) && !report.is_faulty("limits.max_memory_bytes") {
        let message = format!("{bytes} bytes are less than an idle gateway may hold");
        let help = format!("write at least {LEAST}, or 0 for no ceiling");
        report.warning("limits.max_memory_bytes", Code::BadValue, message, Some(help));
    }
}

fn upstreams(tree: &Value, report: &mut Report<'_>) {
    if tree["upstreams"].as_array().is_some_and(Vec::is_empty) {
        let help = "add `[[upstreams]]` with name, generation and endpoint".to_owned();
        report.error(
            "upstreams",
            Code::MissingKey,
            "no upstream: there is no cloud to restore in",
            Some(help),
        );
    }
    let rows = rows(tree, "upstreams");
    for (index, upstream) in rows.iter().enumerate() {
        let name = upstream["name"].as_str();
        if let (Some(name), Some(first)) =
            (name, rows[..index].iter().position(|other| other["name"].as_str() == name))
        {
            report.error(
                &format!("upstreams[{index}].name"),
                Code::DuplicateName,
                format!("`{name}` is the name of `upstreams[{first}]` already"),
                Some("routes tell upstreams apart by name: give each its own".to_owned()),
            );
        }
    }
}

/// Returns true for a plain http URL to another machine.
pub(super) fn is_remote_cleartext(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && !is_loopback(&uri))
}

fn references(tree: &Value, report: &mut Report<'_>) {
    if tree["routes"].as_array().is_some_and(Vec::is_empty) {
        let help =
            "add `[[routes]]` with `upstream = \"…\"`; without `match` it takes every restore".to_owned();
        report.error("routes", Code::MissingKey, "no route: every restore would be rejected", Some(help));
    }
    let names: Vec<Option<&str>> = rows(tree, "upstreams").iter().map(|row| row["name"].as_str()).collect();
    let routes = rows(tree, "routes").iter().enumerate();
    let mut wanted: Vec<(String, Option<&str>)> = Vec::new();
    for (index, route) in routes {
        wanted.push((format!("routes[{index}].upstream"), route["upstream"].as_str()));
        if let Some(name) = route["fallback_upstream"].as_str() {
            if route["upstream"].as_str() == Some(name) {
                let help = "name an upstream of another generation, or leave it out".to_owned();
                let path = format!("routes[{index}].fallback_upstream");
                report.error(&path, Code::Conflict, "it leads to the upstream that refused", Some(help));
            }
            wanted.push((format!("routes[{index}].fallback_upstream"), Some(name)));
        }
    }
    // A name that could not be read may be the missing one.
    if names.is_empty() || names.contains(&None) {
        return;
    }
    let mut all_found = !wanted.is_empty();
    for (path, name) in &wanted {
        all_found &= names.contains(name);
        if let Some(name) = name.filter(|name| !names.contains(&Some(*name))) {
            let known = names.iter().flatten().copied();
            let help = instead(name, known, "upstreams");
            report.error(path, Code::DanglingReference, format!("no upstream is named `{name}`"), Some(help));
        }
    }
    // Also the upstream that a compatibility endpoint uses implicitly, as the only one of its generation.
    let read_by_endpoints: Vec<&str> = rows(tree, "compat_endpoints")
        .iter()
        .filter_map(|endpoint| {
            endpoint["upstream"].as_str().or_else(|| ways::asked(tree, endpoint)?["name"].as_str())
        })
        .collect();
    for (index, name) in names.iter().enumerate() {
        let used = wanted.iter().any(|(_, wanted)| wanted == name)
            || name.is_some_and(|name| read_by_endpoints.contains(&name));
        if all_found && !used {
            let help = "add a route, or take the upstream out".to_owned();
            report.warning(
                &format!("upstreams[{index}]"),
                Code::UnusedUpstream,
                "no route leads here",
                Some(help),
            );
        }
    }
}

/// Warns about routes that no restore can take. If any route has an error, its matches are unknown.
fn reachable(tree: &Value, report: &mut Report<'_>) {
    if report.is_faulty("routes") {
        return;
    }
    let reaches: Vec<Reach<'_>> = rows(tree, "routes").iter().map(Reach::of).collect();
    for (index, reach) in reaches.iter().enumerate() {
        let path = format!("routes[{index}]");
        if reach.is_empty() {
            report.warning(
                &path,
                Code::UnreachableRoute,
                "no restore can match this route",
                Some(
                    "`server_id` matches servers only, `volume_id` single disks only: make two routes"
                        .to_owned(),
                ),
            );
        } else if let Some(earlier) = reaches[..index].iter().position(|earlier| earlier.covers(reach)) {
            report.warning(
                &path,
                Code::UnreachableRoute,
                format!("`routes[{earlier}]` matches all that this route matches, and comes first"),
                Some("put the narrower route first".to_owned()),
            );
        }
    }
}

/// The restores that a route matches: one set per member of a restore, `None` for all values.
struct Reach<'t> {
    /// True if it takes all matching restores, and not a traffic share.
    whole: bool,
    targets: Vec<&'t str>,
    ids: [Option<Vec<&'t str>>; 5],
}

impl<'t> Reach<'t> {
    fn of(route: &'t Value) -> Self {
        let rule = &route["match"];
        let words = |list: &'t Value| Some(list.as_array()?.iter().filter_map(Value::as_str).collect());
        let list = |key: &str| -> Option<Vec<&'t str>> { words(&rule[key]) };
        let [project, server, volume, backup] =
            ["project_ids", "server_ids", "volume_ids", "backup_ids"].map(list);
        let ids = [project, server, volume, backup, words(&route["source_apis"])];
        let mut targets = list("target_types").unwrap_or_else(|| vec!["server", "volume", "resource"]);
        targets.retain(|target| {
            (ids[1].is_none() || *target == "server") && (ids[2].is_none() || *target == "volume")
        });
        let whole = route["traffic_percent"].as_f64().is_none_or(|percent| percent >= 100.0);
        Self { whole, targets, ids }
    }

    fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    fn covers(&self, other: &Self) -> bool {
        let within = |narrow: &[&str], wide: &[&str]| narrow.iter().all(|item| wide.contains(item));
        self.whole
            && within(&other.targets, &self.targets)
            && self.ids.iter().zip(&other.ids).all(|(wide, narrow)| match (wide, narrow) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(wide), Some(narrow)) => within(narrow, wide),
            })
    }
}
