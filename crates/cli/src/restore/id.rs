//! The ID of a restore on the command line: a full one, or its start.

use std::process::ExitCode;
use std::str::FromStr;

use restore_model::RestoreId;

use super::Pages;
use crate::call::USAGE;
use crate::client::Gateway;

/// Shortest start of an ID.
const MIN_PREFIX: usize = 4;

/// An ID, or the start of one.
#[derive(Clone, Debug)]
pub(crate) enum IdOrPrefix {
    Id(RestoreId),
    Prefix(String),
}

impl FromStr for IdOrPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        // An ID has 36 characters; the last ones may be left out.
        let known = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if known && (MIN_PREFIX..36).contains(&text.len()) {
            return Ok(Self::Prefix(text));
        }
        Err(format!("write the ID of a restore, or at least its first {MIN_PREFIX} characters"))
    }
}

impl IdOrPrefix {
    /// The full ID. Searches the list of restores for a prefix; an error is the exit code of what was printed.
    pub(super) async fn find(&self, gateway: &Gateway) -> Result<RestoreId, ExitCode> {
        let prefix = match self {
            Self::Id(id) => return Ok(*id),
            Self::Prefix(prefix) => prefix,
        };
        let mut found = Vec::new();
        let mut pages = Pages::default();
        loop {
            let cursor = pages.cursor().map(|cursor| format!("&cursor={}", encoded(cursor)));
            let path = format!("{}?limit=100{}", gateway.listener().restores(), cursor.unwrap_or_default());
            let ids = pages.read(gateway, &path).await?.into_iter().map(|restore| restore.id);
            let ids: Vec<_> = ids.map(|id| (id, id.to_string())).collect();
            // The list is in descending order of IDs, so an ID after a smaller one cannot match.
            let passed = ids.last().is_some_and(|(_, text)| text < prefix);
            found.extend(ids.into_iter().filter(|(_, text)| text.starts_with(prefix)).map(|(id, _)| id));
            if passed || pages.cursor().is_none() {
                break;
            }
        }
        match found[..] {
            [id] => Ok(id),
            [] => Err(wrong(&format!(
                "no restore has an ID that starts with {prefix}; `restore-gateway restore list` shows all"
            ))),
            [first, second, ..] => Err(wrong(&format!(
                "{} restores have an ID that starts with {prefix}, such as {first} and {second}; write more characters",
                found.len()
            ))),
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_may_be_shortened_to_four_characters() {
        let parse = str::parse::<IdOrPrefix>;
        assert!(matches!(parse("0199A7C4-8d5e-7c21-9f0e-5b1f3a2d4c6e"), Ok(IdOrPrefix::Id(_))));
        assert!(matches!(parse("0199A7"), Ok(IdOrPrefix::Prefix(prefix)) if prefix == "0199a7"));
        for bad in ["", "019", "0199x", "--help", "0199a7c4-8d5e-7c21-9f0e-5b1f3a2d4c6e0"] {
            assert!(parse(bad).is_err() || bad == "--help", "{bad}");
        }
    }
}
