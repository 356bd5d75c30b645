//! Checks of the systems that a configuration needs: the last stage of `check-config`. They change nothing and use no
//! restore. A credential of the gateway logs in once, as it does at the start.

use futures_util::future::{BoxFuture, join_all};
use restore_ledger::{Found, LedgerUrl};
use restore_upstream::KeySource;
use serde::Serialize;

use restore_config::Config;
use restore_gateway::descriptors;
use restore_gateway::upstreams::Built;

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// Available.
    Ok,
    /// Not available.
    Failed,
    /// Not checked.
    Skipped,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// The configuration key.
    pub(super) path: String,
    pub(super) outcome: Outcome,
    /// Result of the check as text.
    pub(super) detail: String,
}

impl Check {
    fn new(path: impl Into<String>, found: Result<String, String>) -> Self {
        let (outcome, detail) = match found {
            Ok(detail) => (Outcome::Ok, detail),
            Err(detail) => (Outcome::Failed, detail),
        };
        Self { path: path.into(), outcome, detail }
    }

    fn skipped(path: impl Into<String>, why: &str) -> Self {
        Self { path: path.into(), outcome: Outcome::Skipped, detail: why.to_owned() }
    }
}

/// Runs all checks at once; returns the results in the order of the configuration.
pub(super) async fn check(config: &Config, built: &Built) -> Vec<Check> {
    let mut checks: Vec<BoxFuture<'_, Vec<Check>>> = vec![Box::pin(ledger(config))];
    for (index, written) in config.upstreams.iter().enumerate() {
        let Some(upstream) = built.routes.upstream(&written.name) else { continue };
        checks.push(Box::pin(async move {
            let reached = upstream.reach().await.into_iter().map(|reached| {
                let said = |status| format!("{} answers with status {status}", reached.url);
                let answer = reached.answer.map(said);
                Check::new(
                    format!("upstreams[{index}]"),
                    answer.map_err(|fault| format!("{}: {}", reached.url, fault.detail)),
                )
            });
            reached.collect()
        }));
    }
    for (index, written) in config.credentials.iter().enumerate() {
        let Some(credential) = built.held.get(&written.name).cloned() else { continue };
        checks.push(Box::pin(async move {
            let path = format!("credentials[{index}]");
            vec![match credential.log_in().await {
                Ok(Some(())) => Check::new(path, Ok("IAM issued a token for the project".to_owned())),
                Ok(None) => Check::skipped(path, "a signature can be checked only by a real call"),
                Err(fault) => Check::new(path, Err(fault.detail)),
            }]
        }));
    }
    for (index, written) in config.callers.iter().enumerate() {
        let Some(address) = written.jwks_url.clone() else { continue };
        checks.push(Box::pin(async move {
            let found = match KeySource::new(address.clone(), written.ca_file.clone()) {
                Ok(source) => source.fetch().await,
                Err(why) => Err(why),
            };
            let found = found.map(|keys| format!("{address} has keys, {} bytes", keys.len()));
            vec![Check::new(
                format!("callers[{index}].jwks"),
                found.map_err(|why| format!("{address}: {why}")),
            )]
        }));
    }
    let checks = join_all(checks).await.into_iter().flatten();
    descriptors(config).into_iter().chain(checks).collect()
}

/// Reports only a limit that is too low: the gateway may run with another limit than this command.
fn descriptors(config: &Config) -> Option<Check> {
    let why = match descriptors::fitting(config, descriptors::raise()) {
        Ok(fitting) => descriptors::lowered(config, fitting?),
        Err(why) => why,
    };
    Some(Check::new("limits.max_connections", Err(why)))
}

async fn ledger(config: &Config) -> Vec<Check> {
    let url = &config.ledger.url;
    if matches!(url, LedgerUrl::Memory) {
        return vec![Check::skipped(
            "ledger.url",
            "a ledger in memory loses every restore when the process ends",
        )];
    }
    let found = restore_ledger::look(url, restore_gateway::ledger_options(config)).await;
    let found = found.map(|found| match found {
        Found::Ledger => format!("{url} is a ledger"),
        Found::Room => format!("the gateway creates {url} at the start"),
    });
    vec![Check::new("ledger.url", found.map_err(|error| format!("{url}: {error}")))]
}
