//! The operator's ID map: a CSV file with the IDs of backups in two generations. It is read at the start and after each
//! change. An unreadable file leaves the previous pairs in effect.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use restore_engine::{Pair, Pairs};
use restore_model::Id;
use serde::Deserialize;

use crate::compose::rotation::Rotation;
use restore_config::Config;

/// Columns of the first line, in any order.
const COLUMNS: [&str; 4] = ["from", "from_id", "to", "to_id"];

/// One row. Further columns are for people.
#[derive(Deserialize)]
struct Row {
    from: String,
    from_id: Id,
    to: String,
    to_id: Id,
}

/// The pairs of the configuration, kept as their file is.
pub(crate) fn of(config: &Config, rotation: &mut Rotation) -> Result<Arc<Pairs>, String> {
    let pairs = Arc::new(Pairs::default());
    let Some(file) = config.id_mapping.file.clone() else { return Ok(pairs) };
    renew(&pairs, &file)?;
    let watched: PathBuf = file.clone();
    rotation.watch("id_mapping.file", Some(watched), Arc::clone(&pairs), move |pairs| renew(pairs, &file));
    Ok(pairs)
}

fn renew(pairs: &Pairs, file: &Path) -> Result<(), String> {
    let count = pairs.replace(read(file)?)?;
    tracing::info!(pairs = count, "ID mapping loaded");
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Pair>, String> {
    let fault = |why: &dyn std::fmt::Display| format!("id_mapping.file {}: {why}", file.display());
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(|error| fault(&error))?;
    let header = reader.headers().map_err(|error| fault(&error))?;
    if let Some(missing) = COLUMNS.iter().find(|column| !header.iter().any(|name| name == **column)) {
        let columns = COLUMNS.join(",");
        return Err(fault(&format!("its first line names no column {missing}; it has to name {columns}")));
    }
    let mut pairs = Vec::new();
    for row in reader.deserialize() {
        let Row { from, from_id, to, to_id } = row.map_err(|error| fault(&error))?;
        for generation in [&from, &to] {
            if restore_generations::by_name(generation).is_none() {
                let known = restore_generations::names().join(", ");
                return Err(fault(&format!("there is no generation {generation:?}, but {known}")));
            }
        }
        pairs.push(Pair { from, from_id, to, to_id });
    }
    Ok(pairs)
}
