//! What settings need around them: the last stage of `check-config`. Nothing is changed and no restore is named; a
//! held credential logs in once, as it would at the start.

use futures_util::future::{BoxFuture, join_all};
use restore_ledger::{Found, LedgerUrl};
use restore_upstream::KeySource;
use serde::Serialize;

use restore_config::Settings;
use restore_gateway::descriptors;
use restore_gateway::upstreams::Built;

/// What became of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// It is as it should be.
    Ok,
    /// It is not.
    Failed,
    /// Nothing can be told from here.
    Skipped,
}

/// One look.
#[derive(Debug, Serialize)]
pub(super) struct Look {
    /// The key of the settings that it is about.
    pub(super) path: String,
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) detail: String,
}

impl Look {
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

/// Looks at everything at once, and tells in the order of the settings.
pub(super) async fn look(settings: &Settings, built: &Built) -> Vec<Look> {
    let mut looks: Vec<BoxFuture<'_, Vec<Look>>> = vec![Box::pin(ledger(settings))];
    for (index, written) in settings.upstreams.iter().enumerate() {
        let Some(upstream) = built.routes.upstream(&written.name) else { continue };
        looks.push(Box::pin(async move {
            let reached = upstream.reach().await.into_iter().map(|reached| {
                let said = |status| format!("{} answers, with {status}", reached.url);
                let answer = reached.answer.map(said);
                Look::new(
                    format!("upstreams[{index}]"),
                    answer.map_err(|fault| format!("{}: {}", reached.url, fault.detail)),
                )
            });
            reached.collect()
        }));
    }
    for (index, written) in settings.credentials.iter().enumerate() {
        let Some(credential) = built.held.get(&written.name).cloned() else { continue };
        looks.push(Box::pin(async move {
            let path = format!("credentials[{index}]");
            vec![match credential.log_in().await {
                Ok(Some(())) => Look::new(path, Ok("IAM gave a token for its project".to_owned())),
                Ok(None) => Look::skipped(path, "whether its signatures are good is told by the first call"),
                Err(fault) => Look::new(path, Err(fault.detail)),
            }]
        }));
    }
    for (index, written) in settings.callers.iter().enumerate() {
        let Some(address) = written.jwks_url.clone() else { continue };
        looks.push(Box::pin(async move {
            let found = match KeySource::new(address.clone(), written.ca_file.clone()) {
                Ok(source) => source.fetch().await,
                Err(why) => Err(why),
            };
            let found = found.map(|keys| format!("{address} has keys, {} bytes", keys.len()));
            vec![Look::new(
                format!("callers[{index}].jwks"),
                found.map_err(|why| format!("{address}: {why}")),
            )]
        }));
    }
    let looks = join_all(looks).await.into_iter().flatten();
    descriptors(settings).into_iter().chain(looks).collect()
}

/// Told only where it is too little: the gateway may run with another limit than this command.
fn descriptors(settings: &Settings) -> Option<Look> {
    let why = match descriptors::fitting(settings, descriptors::raise()) {
        Ok(fitting) => descriptors::lowered(settings, fitting?),
        Err(why) => why,
    };
    Some(Look::new("limits.max_connections", Err(why)))
}

async fn ledger(settings: &Settings) -> Vec<Look> {
    let url = &settings.ledger.url;
    if matches!(url, LedgerUrl::Memory) {
        return vec![Look::skipped(
            "ledger.url",
            "a ledger in memory forgets every restore with the process",
        )];
    }
    let found = restore_ledger::look(url, restore_gateway::ledger_options(settings)).await;
    let found = found.map(|found| match found {
        Found::Ledger => format!("{url} is a ledger"),
        Found::Room => format!("{url} is made at the start"),
    });
    vec![Look::new("ledger.url", found.map_err(|error| format!("{url}: {error}")))]
}
