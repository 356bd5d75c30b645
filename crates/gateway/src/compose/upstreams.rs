//! Upstreams and routes out of the settings: part of the composition in the crate's root.

use std::collections::HashMap;
use std::sync::Arc;

use restore_engine::{Idempotency, Match, Route, Routes};
use restore_model::{Clock, TargetKind};
use restore_upstream::{Credential, Endpoint, Platform, Upstream};

use super::{credentials, pairs};
use crate::compose::rotation::Rotation;
use crate::compose::unfit::{Unfit, Unfits};
use restore_config::{self as config, IdempotencyKey, Settings, Target};

/// What was made of one version of the settings. The next version takes over what is the same in both: with its
/// connections, its token and what is known of its health.
pub struct Built {
    /// Where restores go.
    pub routes: Routes,
    /// The credentials of the gateway's own, by name.
    pub held: HashMap<String, Credential>,
}

/// What is in effect, where there is something already.
pub type Before<'a> = Option<(&'a Settings, &'a Built)>;

/// The rules and their upstreams, each built once.
pub fn build(
    settings: &Settings,
    before: Before<'_>,
    clock: &Arc<dyn Clock>,
    rotation: &mut Rotation,
) -> Result<Built, Unfits> {
    build_on(None, settings, before, clock, rotation)
}

/// As [`build`], with upstreams that a platform carries the connections of.
pub fn build_on(
    platform: Option<&Arc<dyn Platform>>,
    settings: &Settings,
    before: Before<'_>,
    clock: &Arc<dyn Clock>,
    rotation: &mut Rotation,
) -> Result<Built, Unfits> {
    let mut unfits = Unfits::default();
    let known = before.map(|(old, built)| (old, &built.held));
    let held = credentials::held(settings, known, clock, rotation, &mut unfits);
    let mut upstreams: Vec<Arc<Upstream>> = Vec::new();
    for (index, written) in settings.upstreams.iter().enumerate() {
        if let Some(same) = before.and_then(|before| unchanged(written, settings, &held, before)) {
            upstreams.push(same);
            continue;
        }
        let made = upstream(platform, written, settings, &held, rotation);
        upstreams
            .extend(unfits.keep(made.map_err(Unfit::one("upstream", index, &written.name))).map(Arc::new));
    }
    let mut routes = Vec::new();
    for (index, written) in settings.routes.iter().enumerate() {
        let made = route(written, settings, &upstreams);
        routes.extend(unfits.keep(made.map_err(Unfit::alone(format!("routes[{index}]")))).flatten());
    }
    let pairs = unfits
        .keep(pairs::of(settings, rotation).map_err(Unfit::alone("id_mapping.file")))
        .unwrap_or_default();
    let routes = upstreams.into_iter().fold(Routes::new(routes), Routes::and).with_pairs(pairs);
    unfits.or(Built { routes, held })
}

fn upstream(
    platform: Option<&Arc<dyn Platform>>,
    written: &config::Upstream,
    settings: &Settings,
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
        sends: settings.submit.max_attempts,
        deadline: settings.submit.retry_deadline_seconds,
        retry_after_cap: settings.submit.max_retry_after_seconds,
        polls_per_minute: written.polls_per_minute,
        credential: held.get(&written.credential).cloned().unwrap_or(Credential::PassThrough),
        platform: platform.cloned(),
    };
    Upstream::new(options, generation)
}

/// The rule, unless it names an upstream that could not be made: that is a fault of its own.
fn route(
    written: &config::Route,
    settings: &Settings,
    upstreams: &[Arc<Upstream>],
) -> Result<Option<Route>, String> {
    let named = |name: &str| match upstreams.iter().find(|upstream| upstream.name() == name) {
        None if !settings.upstreams.iter().any(|written| written.name == name) => {
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
    settings: &Settings,
    held: &HashMap<String, Credential>,
    (old, built): (&Settings, &Built),
) -> Option<Arc<Upstream>> {
    let of_sends = |settings: &Settings| {
        let submit = &settings.submit;
        (submit.max_attempts, submit.retry_deadline_seconds, submit.max_retry_after_seconds)
    };
    let same_credential = match (held.get(&written.credential), built.held.get(&written.credential)) {
        (Some(now), Some(then)) => now.is_same(then),
        (None, None) => true,
        _ => false,
    };
    let same = old.upstreams.contains(written) && same_credential && of_sends(old) == of_sends(settings);
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
