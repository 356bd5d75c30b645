//! Rules for compatibility endpoints: the location of each, and that no two share one. Two source APIs share method and
//! path, so the location must select the API before the path is read.

use restore_generations::source_api;
use serde_json::Value;

use super::rows;
use crate::days;
use crate::faults::Code;
use crate::host::Host;
use crate::report::Report;

/// First segments of the gateway's own paths.
const OURS: [&str; 5] = ["/api", "/docs", "/openapi.json", "/problems", "/schemas"];

pub(super) fn check(tree: &Value, report: &mut Report<'_>) {
    let endpoints = rows(tree, "compat_endpoints");
    for (index, endpoint) in endpoints.iter().enumerate() {
        days(endpoint, index, report);
        let at = |key: &str| format!("compat_endpoints[{index}].{key}");
        let places: Vec<&str> =
            ["prefix", "host", "listen"].into_iter().filter(|key| endpoint[*key].is_string()).collect();
        if places.len() != 1 {
            let faulty = ["prefix", "host", "listen"].iter().any(|key| report.is_faulty(&at(key)));
            if !faulty {
                let help = "write `prefix`, `host` or `listen`: one of them tells this compatibility endpoint from the others";
                let message = match places.as_slice() {
                    [] => "a compatibility endpoint stands in one place, and none is written".to_owned(),
                    several => {
                        format!(
                            "a compatibility endpoint stands in one place, and {} are written",
                            several.join(" and ")
                        )
                    }
                };
                report.error(
                    &format!("compat_endpoints[{index}]"),
                    Code::Conflict,
                    message,
                    Some(help.to_owned()),
                );
            }
            continue;
        }
        if report.is_faulty(&at(places[0])) {
            continue;
        }
        match places[0] {
            "prefix" => prefix(endpoint, endpoints, index, report),
            "host" => host(tree, endpoints, index, report),
            _ => listen(tree, endpoints, index, report),
        }
        passes_on(tree, endpoint, index, report);
    }
}

/// Checks the dates of a deprecation and of a sunset.
fn days(endpoint: &Value, index: usize, report: &mut Report<'_>) {
    for key in ["deprecated_since", "sunset"] {
        let Some(text) = endpoint[key].as_str() else { continue };
        if days::day(text).is_none() {
            let help = "write it as `2027-06-30`".to_owned();
            let path = format!("compat_endpoints[{index}].{key}");
            report.error(&path, Code::Conflict, format!("`{text}` is no day"), Some(help));
        }
    }
}

fn prefix(endpoint: &Value, endpoints: &[Value], index: usize, report: &mut Report<'_>) {
    let path = format!("compat_endpoints[{index}].prefix");
    let prefix = endpoint["prefix"].as_str().unwrap_or_default();
    let fits = prefix.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|segment| {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(letters)
        })
    });
    if !fits {
        let help = "write it as `/csbs`: a slash first and none last; letters, digits, `-`, `_` and `.`";
        report.error(&path, Code::Conflict, format!("`{prefix}` is no prefix"), Some(help.to_owned()));
        return;
    }
    let covers = |one: &str, other: &str| {
        other.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(ours) = OURS.iter().find(|ours| covers(prefix, ours) || covers(ours, prefix)) {
        let help = "choose another first segment".to_owned();
        report.error(&path, Code::Conflict, format!("`{ours}` is a path of the API"), Some(help));
    }
    let clash = endpoints[..index].iter().position(|earlier| {
        let earlier = earlier["prefix"].as_str();
        earlier.is_some_and(|earlier| covers(earlier, prefix) || covers(prefix, earlier))
    });
    if let Some(first) = clash {
        collide(&path, first, &endpoints[first], endpoint, report);
    }
}

/// Returns the host that a key names, if it is valid.
pub(super) fn host_name(path: &str, text: &str, report: &mut Report<'_>) -> Option<Host> {
    let known = Host::parse(text).ok();
    if known.is_none() {
        let help = "write the name alone, as `csbs.internal`: no scheme, no port, no path".to_owned();
        report.error(path, Code::Conflict, format!("`{text}` is no host name"), Some(help));
    }
    known
}

fn host(tree: &Value, endpoints: &[Value], index: usize, report: &mut Report<'_>) {
    let path = format!("compat_endpoints[{index}].host");
    let endpoint = &endpoints[index];
    let host = endpoint["host"].as_str().unwrap_or_default();
    let Some(known) = host_name(&path, host, report) else { return };
    if let Host::Address(_) = known {
        let message = format!(
            "`{host}` is an address, by which the API is called: all of it would be this compatibility endpoint"
        );
        let help =
            "write a name of its own, or give the compatibility endpoint `prefix` or `listen`".to_owned();
        report.error(&path, Code::Conflict, message, Some(help));
        return;
    }
    let names = tree["listen"]["allowed_hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if names.chain(["localhost"]).any(|name| known.is(name)) {
        let message = format!(
            "the API is called `{host}` as well: by that name all of it is this compatibility endpoint"
        );
        let help =
            "write a name of its own, or give the compatibility endpoint `prefix` or `listen`".to_owned();
        report.warning(&path, Code::Conflict, message, Some(help));
    }
    let same = |earlier: &Value| earlier["host"].as_str().is_some_and(|name| known.is(name));
    if let Some(first) = endpoints[..index].iter().position(same) {
        collide(&path, first, &endpoints[first], endpoint, report);
    }
}

fn listen(tree: &Value, endpoints: &[Value], index: usize, report: &mut Report<'_>) {
    let path = format!("compat_endpoints[{index}].listen");
    let address = |value: &Value| value.as_str().and_then(|text| text.parse::<std::net::SocketAddr>().ok());
    let Some(own) = address(&endpoints[index]["listen"]).filter(|own| own.port() != 0) else { return };
    for key in ["api", "admin"] {
        if address(&tree["listen"][key]) == Some(own) {
            let help = "give the compatibility endpoint its own port, or let it stand on the API's listener with `prefix` or `host`";
            let message = format!("`listen.{key}` has the address {own}");
            report.error(&path, Code::Conflict, message, Some(help.to_owned()));
        }
    }
    if let Some(first) =
        endpoints[..index].iter().position(|earlier| address(&earlier["listen"]) == Some(own))
    {
        collide(&path, first, &endpoints[first], &endpoints[index], report);
    }
}

fn collide(path: &str, first: usize, earlier: &Value, endpoint: &Value, report: &mut Report<'_>) {
    let (one, other) = (&earlier["api"], &endpoint["api"]);
    let (one, other) = (one.as_str().unwrap_or_default(), other.as_str().unwrap_or_default());
    let message = format!(
        "`compat_endpoints[{first}]` ({one}) stands there already, and requests of {other} look like its own"
    );
    let help = "give each compatibility endpoint its own prefix, host or listener".to_owned();
    report.error(path, Code::Conflict, message, Some(help));
}

/// The upstream of proxied reads must have the same API as the compatibility endpoint.
fn passes_on(tree: &Value, endpoint: &Value, index: usize, report: &mut Report<'_>) {
    let Some(wanted) = endpoint["upstream"].as_str() else { return };
    let Some(source_api) = endpoint["api"].as_str().and_then(source_api::by_name) else { return };
    let path = format!("compat_endpoints[{index}].upstream");
    let upstreams = rows(tree, "upstreams");
    match upstreams.iter().find(|upstream| upstream["name"].as_str() == Some(wanted)) {
        None => {
            let help = "name one of `[[upstreams]]`".to_owned();
            report.error(
                &path,
                Code::DanglingReference,
                format!("no upstream is called `{wanted}`"),
                Some(help),
            );
        }
        Some(upstream) => {
            let generation = upstream["generation"].as_str().unwrap_or_default();
            if !generation.is_empty() && generation != source_api.generation() {
                let message = format!(
                    "`{wanted}` speaks {generation}, which programs of this compatibility endpoint do not read"
                );
                let help = format!("name an upstream of generation {}", source_api.generation());
                report.error(&path, Code::Conflict, message, Some(help));
            }
        }
    }
}
