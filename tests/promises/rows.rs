//! The list of faults that the project promises to get over, F1 to F41, against the tests there are:
//! a row is shown by tests that carry its number in their name.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_row_of_the_list_of_faults_is_shown() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("promises");
    let mut shown = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the tests") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("its text");
        let names = text.split("async fn ").skip(1).filter_map(|rest| rest.split('(').next());
        for name in names {
            let rows = name.split('_').map_while(|word| word.strip_prefix('f')?.parse::<u32>().ok());
            shown.extend(rows);
        }
    }
    let missing: Vec<u32> = (1..=41).filter(|row| !shown.contains(row)).collect();
    assert!(missing.is_empty(), "no test shows the rows {missing:?}");
}
