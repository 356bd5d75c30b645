//! Links in proxied responses. Clouds include addresses of their internal hosts. Each is rewritten to the compatibility
//! endpoint, or removed if it leads elsewhere.

use restore_model::ProjectId;
use serde_json::Value;

/// Turns every `links` and `…_links` of an answer into links of the compatibility endpoint at `base`. A link keeps its path and query
/// from the API's version on, if it is one of this project; every other is left out.
pub(crate) fn rewrite(value: &mut Value, base: &str, project: &ProjectId) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match member {
                    Value::Array(links) if name == "links" || name.ends_with("_links") => {
                        links.retain_mut(|link| match link.get_mut("href") {
                            Some(href) => match href.as_str().and_then(|href| own(href, base, project)) {
                                Some(mended) => {
                                    *href = Value::String(mended);
                                    true
                                }
                                None => false,
                            },
                            None => false,
                        });
                    }
                    member => rewrite(member, base, project),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, base, project)),
        _ => {}
    }
}

fn own(href: &str, base: &str, project: &ProjectId) -> Option<String> {
    let uri: http::Uri = href.parse().ok()?;
    let path = uri.path_and_query()?.as_str();
    let at = path.find(&format!("/{project}"))?;
    // The segment in front of the project is the version of the API.
    let from = path[..at].rfind('/')?;
    let version = &path[from + 1..at];
    let is_version = version.strip_prefix('v').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    });
    is_version.then(|| format!("{base}{}", &path[from..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn links_lead_to_the_endpoint_or_nowhere() {
        let project: ProjectId = "0a1b2c3d4e5f60718293a4b5c6d7e8f9".parse().unwrap();
        let mut answer = json!({
            "backups": [{"links": [
                {"rel": "self", "href": "https://192.168.0.1:8776/v2/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b?x=1"},
                {"rel": "bookmark", "href": "https://192.168.0.1:8776/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b"},
                {"rel": "other", "href": "https://192.168.0.1/v2/ffffffffffffffffffffffffffffffff/backups/b"},
                {"rel": "odd"},
            ]}],
            "backups_links": [{"rel": "next", "href": "http://inside/prefix/v2/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups?marker=m"}],
        });
        rewrite(&mut answer, "http://gateway:8080/vbs", &project);
        assert_eq!(
            answer,
            json!({
                "backups": [{"links": [
                    {"rel": "self", "href": "http://gateway:8080/vbs/v2/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups/b?x=1"},
                ]}],
                "backups_links": [
                    {"rel": "next", "href": "http://gateway:8080/vbs/v2/0a1b2c3d4e5f60718293a4b5c6d7e8f9/backups?marker=m"},
                ],
            })
        );
    }
}
