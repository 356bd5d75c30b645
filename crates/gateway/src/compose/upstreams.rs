//! Upstreams and routes from the configuration: part of the composition in the crate's root.

use std::collections::HashMap;
use std::sync::Arc;

use restore_engine::{Idempotency, Match, Route, Routes};
use restore_model::{Clock, TargetKind};
use restore_upstream::{Credential, Endpoint, Platform, Upstream};

use super::{credentials, pairs};
use crate::compose::build_error::{BuildError, BuildErrors};
use crate::compose::rotation::Rotation;
use restore_config::{self as config, Config, IdempotencyKey, Target};

/// Upstreams and routes from one version of the configuration. The next version keeps unchanged parts, with their
/// connections, tokens and circuit breakers.
pub struct Built {
    /// Where restores go.
    pub routes: Routes,
    /// The credentials of the gateway's own, by name.
    pub held: HashMap<String, Credential>,
}

/// The configuration in effect, if there is one.
pub type Before<'a> = Option<(&'a Config, &'a Built)>;

/// The rules and their upstreams, each built once.
pub fn build(
    config: &Config,
    before: Before<'_>,
    clock: &Arc<dyn Clock>,
    rotation: &mut Rotation,
) -> Result<Built, BuildErrors> {
    build_on(None, config, before, clock, rotation)
}

/// As [`build`], with upstreams that a platform carries the connections of.
pub fn build_on(
    platform: Option<&Arc<dyn Platform>>,
    config: &Config,
    before: Before<'_>,
    clock: &Arc<dyn Clock>,
    rotation: &mut Rotation,
) -> Result<Built, BuildErrors> {
    let mut build_errors = BuildErrors::default();
    let known = before.map(|(old, built)| (old, &built.held));
    let held = credentials::held(config, known, clock, rotation, &mut build_errors);
    let mut upstreams: Vec<Arc<Upstream>> = Vec::new();
    for (index, written) in config.upstreams.iter().enumerate() {
        if let Some(same) = before.and_then(|before| unchanged(written, config, &held, before)) {
            upstreams.push(same);
            continue;
        }
        let made = upstream(platform, written, config, &held, rotation);
        upstreams.extend(
            build_errors.keep(made.map_err(BuildError::one("upstream", index, &written.name))).map(Arc::new),
        );
    }
    let mut routes = Vec::new();
    for (index, written) in config.routes.iter().enumerate() {
        let made = route(written, config, &upstreams);
        routes
            .extend(build_errors.keep(made.map_err(BuildError::alone(format!("routes[{index}]")))).flatten());
    }
    let pairs = build_errors
        .keep(pairs::of(config, rotation).map_err(BuildError::alone("id_mapping.file")))
        .unwrap_or_default();
    let routes = upstreams.into_iter().fold(Routes::new(routes), Routes::and).with_pairs(pairs);
    build_errors.or(Built { routes, held })
}

fn upstream(
    platform: Option<&Arc<dyn Platform>>,
    written: &config::Upstream,
    config: &Config,
    held: &HashMap<String, Credential>,
    rotation: &mut Rotation,
) -> Result<Upstream, String> {
    let generation = restore_generations::by_name(&written.generation)
        .ok_or_else(|| format!("generation {} is none", written.generation))?;
    let options = restore_upstream::Options {
        name: written.name.clone(),
        endpoint: match &written.endpoint {
            Some(endpoint) => Endpoint::At(endpoint.clone(), written.evs_endpoint.clone()),
            None => Endpoint::Catalog(written.region.clone()),
        },
        connect: written.connect_timeout_seconds,
        send: written.send_timeout_seconds,
        read: written.read_timeout_seconds,
        concurrency: written.max_concurrency,
        max_body_bytes: written.max_body_bytes,
        breaker_threshold: written.circuit_breaker.failure_threshold,
        breaker_open: written.circuit_breaker.open_seconds,
        ca_file: written.ca_file.clone(),
        identity: credentials::client_identity(written, rotation)?,
        http2: written.http2,
        sends: config.submit.max_attempts,
        deadline: config.submit.retry_deadline_seconds,
        retry_after_cap: config.submit.max_retry_after_seconds,
        polls_per_minute: written.polls_per_minute,
        credential: held.get(&written.credential).cloned().unwrap_or(Credential::PassThrough),
        platform: platform.cloned(),
    };
    Upstream::new(options, generation)
}

/// The rule, unless it names an upstream that could not be made: that is a fault of its own.
fn route(
    written: &config::Route,
    config: &Config,
    upstreams: &[Arc<Upstream>],
) -> Result<Option<Route>, String> {
    let named = |name: &str| match upstreams.iter().find(|upstream| upstream.name() == name) {
        None if !config.upstreams.iter().any(|written| written.name == name) => {
            Err(format!("upstream {name} is none"))
        }
        found => Ok(found.map(Arc::clone)),
    };
    let retired = written.fallback_upstream.as_deref().map(named).transpose()?;
    let (Some(upstream), None | Some(Some(_))) = (named(&written.upstream)?, &retired) else {
        return Ok(None);
    };
    Ok(Some(Route {
        matches: matches(&written.r#match)?,
        source_api: written.source_apis.clone().unwrap_or_default(),
        upstream,
        baseline: written.baseline_read,
        idempotency: match written.idempotency_key {
            IdempotencyKey::Optional => Idempotency::Optional,
            IdempotencyKey::Required => Idempotency::Required,
        },
        key_window: written.idempotency_key_ttl_seconds,
        duplicate_window: written.dedup_window_seconds,
        overdue: written.overdue_seconds,
        per_disk_restore: written.per_disk_restore,
        share: written.traffic_percent / 100.0,
        fallback_upstream: retired.flatten(),
    }))
}

/// The upstream as it is, if nothing that it is made of has changed.
fn unchanged(
    written: &config::Upstream,
    config: &Config,
    held: &HashMap<String, Credential>,
    (old, built): (&Config, &Built),
) -> Option<Arc<Upstream>> {
    let of_sends = |config: &Config| {
        let submit = &config.submit;
        (submit.max_attempts, submit.retry_deadline_seconds, submit.max_retry_after_seconds)
    };
    let same_credential = match (held.get(&written.credential), built.held.get(&written.credential)) {
        (Some(now), Some(then)) => now.is_same(then),
        (None, None) => true,
        _ => false,
    };
    let same = old.upstreams.contains(written) && same_credential && of_sends(old) == of_sends(config);
    same.then(|| built.routes.upstream(&written.name)).flatten()
}

pub(crate) fn matches(written: &config::Match) -> Result<Match, String> {
    fn ids<T: std::str::FromStr<Err: std::fmt::Display>>(
        list: Option<&Vec<String>>,
    ) -> Result<Vec<T>, String> {
        list.into_iter().flatten().map(|id| id.parse().map_err(|error: T::Err| error.to_string())).collect()
    }
    Ok(Match {
        project_id: ids(written.project_ids.as_ref())?,
        target: written
            .target_types
            .iter()
            .flatten()
            .map(|target| match target {
                Target::Server => TargetKind::Server,
                Target::Volume => TargetKind::Volume,
                Target::Resource => TargetKind::Resource,
            })
            .collect(),
        backup_id: ids(written.backup_ids.as_ref())?,
        server_id: ids(written.server_ids.as_ref())?,
        volume_id: ids(written.volume_ids.as_ref())?,
    })
}
