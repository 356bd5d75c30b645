//! The upstreams' error codes as data (`codes.tsv`, cloud APIs 1.8). The code takes precedence over the HTTP status:
//! some rejections arrive as 500, and so does one authentication failure (T17).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use restore_model::Code;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The upstream's code.
    pub code: &'static str,
    /// The statuses that the row applies to.
    pub status: Under,
    /// The gateway's problem code.
    pub class: Code,
    /// Retry hint.
    pub hint: Hint,
    /// Its meaning, as in the documentation or shorter.
    pub meaning: &'static str,
}

/// The statuses that a row applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Under {
    /// Any.
    Any,
    /// Any status of 400 to 499: under another status the code proves nothing.
    Refusal,
    /// Only this status.
    Status(u16),
}

/// Retry hint of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A permanent rejection.
    No,
    /// A temporary rejection.
    Later,
    /// A rejection that may or may not be temporary.
    Bounded,
    /// A rejection that another generation would not return.
    Reroute,
    /// A rejection of the credentials.
    Auth,
    /// Not a rejection: the call may have been applied.
    Ambiguous,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    include_str!("codes.tsv")
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('#') && !line.is_empty())
        .map(|(number, line)| {
            parse(line).unwrap_or_else(|| panic!("codes.tsv line {} is not a row", number + 1))
        })
        .collect()
});

static BY_CODE: LazyLock<HashMap<(&str, Under), &Row>> =
    LazyLock::new(|| ROWS.iter().map(|row| ((row.code, row.status), row)).collect());

fn parse(line: &'static str) -> Option<Row> {
    let mut columns = line.split('\t');
    let code = columns.next()?;
    let status = match columns.next()? {
        "*" => Under::Any,
        "4xx" => Under::Refusal,
        status => Under::Status(status.parse().ok()?),
    };
    let class = columns.next()?;
    let class = Code::ALL.iter().copied().find(|known| known.as_str() == class)?;
    let hint = match columns.next()? {
        "no" => Hint::No,
        "later" => Hint::Later,
        "bounded" => Hint::Bounded,
        "reroute" => Hint::Reroute,
        "auth" => Hint::Auth,
        "ambiguous" => Hint::Ambiguous,
        _ => return None,
    };
    Some(Row { code, status, class, hint, meaning: columns.next()? })
}

/// Every row, in the order of the documentation.
#[must_use]
pub fn all() -> &'static [Row] {
    &ROWS
}

/// A code in the spelling of the table: `APIG.` is an alias of `APIGW.` (T23).
fn plain(code: &str) -> Cow<'_, str> {
    code.strip_prefix("APIG.").map_or(Cow::Borrowed(code), |rest| Cow::Owned(format!("APIGW.{rest}")))
}

/// The row of a code under a status.
#[must_use]
pub fn find(code: &str, status: u16) -> Option<&'static Row> {
    let code = &*plain(code);
    let refusal = (400..500).contains(&status).then_some(Under::Refusal);
    let mut under = [Some(Under::Status(status)), refusal, Some(Under::Any)].into_iter().flatten();
    under.find_map(|under| BY_CODE.get(&(code, under))).copied()
}

/// True if the table has the code under some status.
#[must_use]
pub fn is_known(code: &str) -> bool {
    let code = plain(code);
    all().iter().any(|row| row.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_without_doubles() {
        assert!(all().len() > 100, "{} rows", all().len());
        assert_eq!(BY_CODE.len(), all().len());
    }

    #[test]
    fn the_status_distinguishes_a_code_with_two_meanings() {
        assert_eq!(find("CSBS.9009", 403).unwrap().class, Code::UpstreamForbidden);
        assert_eq!(find("CSBS.9009", 400).unwrap().class, Code::UpstreamBadRequest);
    }

    /// A restore may use another upstream only if it was certainly not started: a 5xx may come from a load balancer.
    #[test]
    fn only_a_rejection_shows_a_closed_generation() {
        for code in ["BackupService.4003", "BackupService.4008"] {
            for status in [400, 403, 409] {
                assert_eq!(find(code, status).unwrap().class, Code::GenerationRetired);
            }
            for status in [0, 200, 302, 500, 502, 503, 504] {
                assert_eq!(find(code, status), None, "{status}");
            }
        }
    }

    #[test]
    fn the_dedicated_gateway_prefix_is_an_alias() {
        assert_eq!(find("APIG.0308", 429), find("APIGW.0308", 429));
        assert_eq!(find("APIG.0308", 429).unwrap().class, Code::UpstreamThrottled);
    }
}
