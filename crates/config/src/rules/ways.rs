//! Compatibility endpoints, routes and upstreams together: configuration that takes no restore, rejects every restore,
//! or leaves the identity of a backup unclear. It reports only what is certain.

use restore_generations::matrix::{self, Fate};
use restore_generations::source_api;
use restore_generations::{Generation, SourceApi, by_name};
use restore_model::TargetKind;
use serde_json::Value;

use super::{Reach, rows};
use crate::faults::Code;
use crate::kinds::CANONICAL;
use crate::report::Report;

pub(super) fn check(tree: &Value, report: &mut Report<'_>) {
    if ["compat_endpoints", "upstreams", "routes"].iter().any(|table| report.is_faulty(table)) {
        return;
    }
    for (index, row) in rows(tree, "compat_endpoints").iter().enumerate() {
        let Some(endpoint) = row["api"].as_str().and_then(source_api::by_name) else { continue };
        if let Some(home) = home(tree, row, endpoint, index, report) {
            unasked(tree, home, endpoint, index, report);
        }
        carried(tree, endpoint, index, report);
    }
    for (index, route) in rows(tree, "routes").iter().enumerate() {
        takes(tree, route, index, report);
        useless(tree, route, index, report);
        inexpressible(tree, route, index, report);
    }
}

/// Returns the upstream of a compatibility endpoint, as the gateway finds it: the configured one, or the only one of
/// its generation.
pub(super) fn asked<'t>(tree: &'t Value, row: &Value) -> Option<&'t Value> {
    let upstreams = rows(tree, "upstreams");
    if let Some(name) = row["upstream"].as_str() {
        return upstreams.iter().find(|upstream| upstream["name"] == name);
    }
    let generation = row["api"].as_str().and_then(source_api::by_name)?.generation();
    let mut own = upstreams.iter().filter(|upstream| upstream["generation"] == generation);
    own.next().filter(|_| own.next().is_none())
}

/// Returns the same, and reports an error if there are several candidates.
fn home<'t>(
    tree: &'t Value,
    row: &Value,
    endpoint: &dyn SourceApi,
    index: usize,
    report: &mut Report<'_>,
) -> Option<&'t Value> {
    let found = asked(tree, row);
    let own =
        rows(tree, "upstreams").iter().filter(|upstream| upstream["generation"] == endpoint.generation());
    let names: Vec<&str> = own.filter_map(|upstream| upstream["name"].as_str()).collect();
    if let (None, [first, _, ..]) = (found, names.as_slice()) {
        let message = format!(
            "{} speak {}, and it is not said which of them this compatibility endpoint asks",
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and "),
            endpoint.generation()
        );
        let help = format!("write `upstream = \"{first}\"`, or another of them");
        report.error(&format!("compat_endpoints[{index}]"), Code::MissingKey, message, Some(help));
    }
    found
}

/// Warns if another generation carries out restores with the gateway's own credential, while the upstream of the source
/// lookup accepts only the program's token. A program without a token is rejected.
fn unasked(tree: &Value, home: &Value, endpoint: &dyn SourceApi, index: usize, report: &mut Report<'_>) {
    let passes = |upstream: &Value| upstream["credential"].as_str().is_none_or(|kind| kind == "passthrough");
    if !passes(home) {
        return;
    }
    let elsewhere = speaking(tree, endpoint)
        .filter_map(|(_, route)| upstream(tree, route))
        .find(|to| to["generation"] != home["generation"] && !passes(to));
    if let (Some(to), Some(name)) = (elsewhere, home["name"].as_str()) {
        let message = format!(
            "`{name}` is asked with the token that a program brings, and restores by `{}` need none: without one, what is \
             not in `id_mapping.file` is refused",
            to["name"].as_str().unwrap_or_default()
        );
        let help = format!("give `{name}` a credential as well");
        report.warning(&format!("compat_endpoints[{index}]"), Code::Conflict, message, Some(help));
    }
}

/// Returns the routes that match some requests of a compatibility endpoint, with their indexes.
fn speaking<'t>(tree: &'t Value, endpoint: &dyn SourceApi) -> impl Iterator<Item = (usize, &'t Value)> {
    let words: Vec<&str> = endpoint.targets().iter().map(|target| target.as_str()).collect();
    let source_api = endpoint.source_api();
    rows(tree, "routes").iter().enumerate().filter(move |(_, route)| {
        let through =
            route["source_apis"].as_array().is_none_or(|list| list.iter().any(|one| one == source_api));
        let share = route["traffic_percent"].as_f64().is_none_or(|share| share > 0.0);
        through && share && Reach::of(route).targets.iter().any(|target| words.contains(target))
    })
}

fn upstream<'t>(tree: &'t Value, route: &Value) -> Option<&'t Value> {
    rows(tree, "upstreams").iter().find(|upstream| upstream["name"] == route["upstream"])
}

fn generation(tree: &Value, route: &Value) -> Option<&'static dyn Generation> {
    by_name(upstream(tree, route)?["generation"].as_str()?)
}

/// Warns about a compatibility endpoint that rejects every restore.
fn carried(tree: &Value, endpoint: &dyn SourceApi, index: usize, report: &mut Report<'_>) {
    let path = format!("compat_endpoints[{index}]");
    let source_api = endpoint.source_api();
    let mut opt_in = false;
    let mut all = speaking(tree, endpoint).peekable();
    if all.peek().is_none() {
        let words: Vec<&str> = endpoint.targets().iter().map(|target| target.as_str()).collect();
        let message =
            format!("no route takes a restore that comes through it ({source_api}, {})", words.join(", "));
        let help = "add a route, or the source API to that of one".to_owned();
        report.warning(&path, Code::UselessEndpoint, message, Some(help));
        return;
    }
    let carries = |(_, route): (usize, &Value)| {
        // The generation of a missing upstream is unknown.
        let Some(generation) = generation(tree, route) else { return true };
        let reach = Reach::of(route);
        matrix::cells(endpoint, generation)
            .iter()
            .filter(|cell| reach.targets.contains(&cell.target.as_str()))
            .any(|cell| match cell.verdict {
                Fate::Lossless | Fate::Lossy => true,
                Fate::OptIn => {
                    opt_in = true;
                    route["per_disk_restore"] == true
                }
                Fate::Impossible | Fate::Unspeakable => false,
            })
    };
    if !all.any(carries) {
        let message =
            format!("no route leads {source_api} to an upstream that can do what its programs ask for");
        let help = if opt_in {
            "write `per_disk_restore = true` on the route if servers may be restored disk by disk"
        } else {
            "lead it to an upstream of another generation"
        };
        report.warning(&path, Code::UselessEndpoint, message, Some(help.to_owned()));
    }
}

/// Warns about a route that takes no restore, or none without a header that programs of old source APIs do not send.
fn takes(tree: &Value, route: &Value, index: usize, report: &mut Report<'_>) {
    let endpoints: Vec<&str> =
        rows(tree, "compat_endpoints").iter().filter_map(|endpoint| endpoint["api"].as_str()).collect();
    let listed: Option<Vec<&str>> =
        route["source_apis"].as_array().map(|list| list.iter().filter_map(Value::as_str).collect());
    let path = |key: &str| format!("routes[{index}].{key}");
    if let Some(listed) = &listed
        && !listed.is_empty()
        && !listed.iter().any(|one| *one == CANONICAL || endpoints.contains(one))
    {
        let message =
            format!("no compatibility endpoint speaks {}: no restore takes this route", listed.join(" or "));
        let help = "add a compatibility endpoint, or take the route out".to_owned();
        report.warning(&path("source_apis"), Code::UnreachableRoute, message, Some(help));
    }
    if route["traffic_percent"].as_f64() == Some(0.0) {
        let help = "write a larger share, or take the route out".to_owned();
        report.warning(
            &path("traffic_percent"),
            Code::UnreachableRoute,
            "a share of 0 takes no restore at all",
            Some(help),
        );
    }
    let through = |endpoint: &&&str| listed.as_ref().is_none_or(|listed| listed.contains(*endpoint));
    if route["idempotency_key"] == "required"
        && let Some(endpoint) = endpoints.iter().find(through)
    {
        let message = format!("programs of {endpoint} send no Idempotency-Key: this route rejects them");
        let help = format!(
            "write `source API = [\"{CANONICAL}\"]` here, and a route without it for the compatibility endpoints"
        );
        report.warning(&path("idempotency_key"), Code::Conflict, message, Some(help));
    }
}

/// Warns about a route that rejects every restore, because its generation does not support the target.
fn inexpressible(tree: &Value, route: &Value, index: usize, report: &mut Report<'_>) {
    let Some(generation) = generation(tree, route) else { return };
    let can = |target| generation.restores(target);
    let kinds = [TargetKind::Server, TargetKind::Volume, TargetKind::Resource];
    let reach = Reach::of(route);
    let taken: Vec<TargetKind> =
        kinds.into_iter().filter(|kind| reach.targets.contains(&kind.as_str())).collect();
    let by_disks = taken.iter().any(|kind| generation.restores_by_disks(*kind));
    if taken.is_empty()
        || taken.iter().any(|kind| can(*kind))
        || (by_disks && route["per_disk_restore"] == true)
    {
        return;
    }
    let words: Vec<&str> = taken.iter().map(|kind| kind.as_str()).collect();
    let message = format!(
        "{} restores no {}: whatever takes this route is refused",
        generation.name(),
        words.join(" and no ")
    );
    let help = if by_disks {
        "write `per_disk_restore = true` if servers may be restored disk by disk, or lead it to another generation"
    } else {
        "lead it to an upstream of another generation"
    };
    report.warning(
        &format!("routes[{index}].match.target_types"),
        Code::UnreachableRoute,
        message,
        Some(help.to_owned()),
    );
}

/// Warns about keys without effect for the route's generation.
fn useless(tree: &Value, route: &Value, index: usize, report: &mut Report<'_>) {
    let Some(generation) = generation(tree, route) else { return };
    let name = generation.name();
    if route["per_disk_restore"] == true && !generation.restores_by_disks(TargetKind::Server) {
        let message = format!("{name} is never asked disk by disk for a server: this does nothing");
        let help = "take it out: it is for upstreams that restore disks alone".to_owned();
        report.warning(&format!("routes[{index}].per_disk_restore"), Code::Conflict, message, Some(help));
    }
    if route["fallback_upstream"].is_string() && generation.closed_on().is_none() {
        let message = format!("{name} is closed to no project: this does nothing");
        let closed = restore_generations::ALL.iter().filter(|other| other.closed_on().is_some());
        let closed: Vec<_> = closed.map(|other| other.name()).collect();
        let help = format!("take it out: it is for {}", closed.join(" and "));
        report.warning(&format!("routes[{index}].fallback_upstream"), Code::Conflict, message, Some(help));
    }
}
