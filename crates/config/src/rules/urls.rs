//! Addresses as people copy them: from a catalog, with version and project, or from `OS_AUTH_URL`, with the version of
//! IAM. The paths of the calls contain both, so every call would fail. A known suffix is removed, with a warning that
//! names the correct value. Other suffixes are errors.

use serde_json::Value;

use crate::faults::Code;
use crate::report::Report;

/// The parts of an address, as far as they are recognized.
#[derive(Debug, PartialEq, Eq)]
enum Copied {
    /// The address is correct.
    Plain,
    /// It ends with a version, or with version and project. This is the address without them.
    Known(String),
    /// It has further parts, or a project without a version. This is the most likely intention.
    Odd(String),
}

/// The keys of addresses to which the gateway appends paths with a version.
const URLS: [(&str, &[&str]); 3] = [
    ("upstreams", &["endpoint", "evs_endpoint"]),
    ("credentials", &["iam_endpoint"]),
    ("callers", &["iam_endpoint"]),
];

/// Removes version and project from the addresses in the tree.
pub(super) fn check(tree: &mut Value, report: &mut Report<'_>) {
    for (table, keys) in URLS {
        for (index, row) in tree[table].as_array_mut().into_iter().flatten().enumerate() {
            for key in keys {
                let path = format!("{table}[{index}].{key}");
                let Some(url) = row[*key].as_str().filter(|_| !report.is_faulty(&path)) else { continue };
                match read(url) {
                    Copied::Plain => {}
                    Copied::Known(right) => {
                        let message =
                            format!("`{url}` ends with what every called path has: `{right}` is used");
                        let help = Some(format!("write `{right}`"));
                        report.warning(&path, Code::BadValue, message, help);
                        row[*key] = right.into();
                    }
                    Copied::Odd(right) => {
                        let message =
                            format!("`{url}` has a version, a project or a path of the cloud's API in it");
                        let help = Some(format!("write the address alone: `{right}`"));
                        report.error(&path, Code::BadValue, message, help);
                    }
                }
            }
        }
    }
}

/// Warns about proxy variables in the environment, without their values, which may contain passwords.
pub(super) fn proxies(report: &mut Report<'_>, variables: &[String]) {
    for name in variables {
        let message = format!("{name} is set, and proxies are not supported: clouds are called directly");
        let help =
            "take it out of the environment of the gateway, or make a direct way to the clouds".to_owned();
        report.of_variable(name, Code::Unusable, message, help);
    }
}

fn read(url: &str) -> Copied {
    let Some((scheme, rest)) = url.split_once("://") else { return Copied::Plain };
    let mut parts = rest.split('/');
    let authority = parts.next().unwrap_or_default();
    let segments: Vec<&str> = parts.filter(|segment| !segment.is_empty()).collect();
    let without = |length: usize| {
        let mut right = format!("{scheme}://{authority}");
        for segment in &segments[..length] {
            right.push('/');
            right.push_str(segment);
        }
        right
    };
    let last = segments.len().checked_sub(1);
    let version = segments.iter().position(|segment| is_version(segment));
    match (version, last) {
        // A path before the version may belong to the host, but a project does not.
        (Some(at), Some(_)) if segments[..at].iter().any(|segment| is_project(segment)) => {
            Copied::Odd(without(segments.iter().position(|segment| is_project(segment)).unwrap_or(at)))
        }
        (Some(at), Some(last)) if at == last => Copied::Known(without(at)),
        (Some(at), Some(last)) if at + 1 == last && is_project(segments[last]) => Copied::Known(without(at)),
        // The address at which IAM issues tokens.
        (Some(at), Some(_)) if segments[at + 1..] == ["auth", "tokens"] => Copied::Known(without(at)),
        (Some(at), Some(_)) if segments[at + 1..].iter().any(|segment| is_of_an_api(segment)) => {
            Copied::Odd(without(at))
        }
        _ => match segments.iter().position(|segment| is_project(segment)) {
            Some(at) => Copied::Odd(without(version.map_or(at, |version| version.min(at)))),
            None => Copied::Plain,
        },
    }
}

/// `v2`, `v2.0`, `V3`.
fn is_version(segment: &str) -> bool {
    let number = segment.strip_prefix(['v', 'V']).unwrap_or_default();
    number.starts_with(|first: char| first.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Returns true for the ID of a project, or for a placeholder in catalogs and documents.
fn is_project(segment: &str) -> bool {
    let id = segment.strip_prefix("AUTH_").unwrap_or(segment);
    let hex = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = segment.replace("%7B", "{").replace("%7b", "{").replace("%28", "(");
    hex || plain.contains(['{', '(', '<', '$']) || matches!(segment, ":project_id" | ":tenant_id")
}

/// Returns true for a segment that the clouds' APIs have after version and project.
fn is_of_an_api(segment: &str) -> bool {
    is_project(segment)
        || matches!(
            segment,
            "auth"
                | "backups"
                | "checkpoint_items"
                | "checkpoints"
                | "cloudbackups"
                | "domains"
                | "jobs"
                | "operation-logs"
                | "policies"
                | "projects"
                | "providers"
                | "restores"
                | "users"
                | "vaults"
                | "volumes"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_with_an_address_is_told_from_a_path_of_its_own() {
        let known = |url: &str, right: &str| assert_eq!(read(url), Copied::Known(right.to_owned()), "{url}");
        let odd = |url: &str, right: &str| assert_eq!(read(url), Copied::Odd(right.to_owned()), "{url}");
        let host = "https://cbr.eu-de.example";
        for end in [
            "/v3",
            "/v3/",
            "/V3",
            "/v3.0",
            "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "/v3/{project}",
            "/v3/{project_id}/",
            "/v3/%7Bproject_id%7D",
            "/v2/$(tenant_id)s",
            "/v2/$(project_id)s",
            "/v2/%(tenant_id)s",
            "/v2/${project}",
            "/v1/<project_id>",
            "/v1/AUTH_0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "/v3/:project_id",
            "/v3/auth/tokens",
        ] {
            known(&format!("{host}{end}"), host);
            known(&format!("{host}:8443/vbs{end}"), &format!("{host}:8443/vbs"));
        }
        for end in [
            "/v3/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups",
            "/v3/{project}/backups/{id}/restore",
            "/v3/projects",
            "/v3/checkpoints",
            "/{project}",
            "/0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "/{project}/v3",
            "/v3/auth",
        ] {
            odd(&format!("{host}{end}"), host);
        }
        for plain in ["", "/", "/vbs", "/cloud/vbs", "/very", "/v", "/vbs2", "/api/v1/vbs"] {
            assert_eq!(read(&format!("{host}{plain}")), Copied::Plain, "{plain}");
        }
    }
}
