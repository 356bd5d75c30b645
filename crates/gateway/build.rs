//! Unpacks the two files of Swagger UI that `/docs` serves. Their crate contains the archive of a release.

use std::error::Error;
use std::io::{Cursor, Read as _};
use std::path::Path;
use std::{env, fs};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// Their places in the archive, below a folder whose name contains the version.
const FILES: [&str; 2] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css"];

#[expect(
    clippy::disallowed_methods,
    reason = "Cargo names the target folder in the environment of a build script"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("OUT_DIR")?;
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let names: Vec<String> =
        archive.file_names().map(|name| name.map(Into::into)).collect::<Result<_, _>>()?;
    for file in FILES {
        let name = names.iter().find(|name| name.split_once('/').is_some_and(|(_, path)| path == file));
        let mut content = Vec::new();
        archive
            .by_name(name.ok_or_else(|| format!("Swagger UI has no {file}"))?)?
            .read_to_end(&mut content)?;
        fs::write(Path::new(&target).join(Path::new(file).file_name().ok_or("no name")?), content)?;
    }
    Ok(())
}
