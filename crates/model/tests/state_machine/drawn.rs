//! The drawing in `docs/explanation/states.md` shows the moves that there are, and no other.

use std::collections::BTreeSet;
use std::path::Path;

use restore_model::{Cause, Status};

use crate::table::{COLUMNS, TABLE, event, kind_after, reach};

const CAUSES: [Cause; 6] =
    [Cause::Caller, Cause::Gateway, Cause::Upstream, Cause::Deadline, Cause::Restart, Cause::Operator];

/// Every change of status that some event of some cause makes.
fn moves() -> BTreeSet<(String, String)> {
    let mut moves = BTreeSet::new();
    for (row, _) in TABLE {
        let before = reach(row);
        for (column, cause) in COLUMNS.iter().flat_map(|column| CAUSES.map(|cause| (*column, cause))) {
            let event = event(before.seq + 1, cause, kind_after(&before, column, before.attempts + 1));
            if let Ok(after) = before.clone().apply(&event)
                && after.status != before.status
            {
                moves.insert((before.status.as_str().to_owned(), after.status.as_str().to_owned()));
            }
        }
    }
    moves
}

#[test]
fn the_drawing_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/explanation/states.md");
    let page = std::fs::read_to_string(path).unwrap();
    let drawn: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| line.split(':').next()?.split_once(" --> "))
        .map(|(from, to)| (from.trim().to_owned(), to.trim().to_owned()))
        .collect();
    let mut expected = moves();
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    expected.insert(edge("[*]", "accepted"));
    for status in Status::ALL.into_iter().filter(|status| status.is_final()) {
        expected.insert(edge(status.as_str(), "[*]"));
    }
    assert!(expected.len() > 25, "{expected:?}");
    let missing: Vec<_> = expected.difference(&drawn).collect();
    let wrong: Vec<_> = drawn.difference(&expected).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "not drawn: {missing:?}; drawn and not there: {wrong:?}");
    for status in Status::ALL {
        assert!(page.contains(&format!("\n| `{}` |", status.as_str())), "{status:?} is not explained");
    }
}
