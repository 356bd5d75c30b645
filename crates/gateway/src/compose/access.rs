//! Callers, policies and TLS from the configuration: part of the composition in the crate's root.

use std::path::Path;
use std::sync::Arc;

use restore_engine::{Action, Grant};
use restore_model::{Clock, ProjectId};
use restore_upstream::{KeySource, SecretCell, TokenIntrospection};
use secrecy::ExposeSecret;

use crate::auth::{AccessKeys, Callers, Hosts, IamTokens, Issuer, IssuerOptions, Row, Source, api_key};
use crate::compose::build_error::{BuildError, BuildErrors};
use crate::compose::credentials;
use crate::compose::rotation::Rotation;
use crate::middleware::rate::{Rate, RateLayer};
use crate::server::tls::{self, Tls};
use crate::telemetry::metrics::Refusals;
use restore_config::{self as config, CallerKind, ClientAuth, Config, Listener, Secret};

/// Algorithms of tokens where the configuration names none: the one that every issuer has, and the one
/// that should be had.
const ALGORITHMS: [&str; 2] = ["RS256", "ES256"];

/// The callers of this listener.
pub(crate) fn callers(
    config: &Config,
    listener: Listener,
    clock: &Arc<dyn Clock>,
    refusals: Option<Refusals>,
    rotation: &mut Rotation,
) -> Result<Callers, BuildErrors> {
    let hosts = hosts(config);
    let mut build_errors = BuildErrors::default();
    let mut callers = Callers { refusals, signers: AccessKeys::of(hosts), ..Callers::default() };
    let here = |(_, caller): &(usize, &config::Caller)| caller.listeners.contains(&listener);
    for (index, written) in config.callers.iter().enumerate().filter(here) {
        let added = grants(config, &written.name)
            .and_then(|grants| add(&mut callers, written, grants, clock, rotation))
            .map_err(BuildError::one("caller", index, &written.name));
        build_errors.keep(added);
    }
    build_errors.or(callers)
}

/// The hosts that a signed request may be for. Without `listen.allowed_hosts` nobody knows how callers call the gateway, behind a proxy
/// say; with them, the gateway still has the names and addresses of its compatibility endpoints besides.
fn hosts(config: &Config) -> Option<Hosts> {
    let mut names: Vec<String> = config.listen.allowed_hosts.clone().unwrap_or_default();
    if names.is_empty() {
        return None;
    }
    names.extend(config.compat_endpoints.iter().filter_map(|endpoint| endpoint.host.clone()));
    let endpoints = config.compat_endpoints.iter().filter_map(|endpoint| endpoint.listen);
    let addresses =
        std::iter::once(config.listen.api).chain(endpoints).map(|address| address.ip().to_canonical());
    Some(Hosts { names, addresses: addresses.collect() })
}

fn add(
    callers: &mut Callers,
    written: &config::Caller,
    grants: Arc<[Grant]>,
    clock: &Arc<dyn Clock>,
    rotation: &mut Rotation,
) -> Result<(), String> {
    let row = Row { name: written.name.as_str().into(), grants };
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let needed = |name: &str| format!("{name} is missing");
    match written.r#type {
        CallerKind::ApiKey => {
            let cell = match (&written.key_hash, &written.key) {
                (Some(hash), _) => SecretCell::new(api_key::read_hash(hash)?),
                (None, Some(key)) => key_cell(&written.name, key, rotation),
                (None, None) => return Err(needed("hash")),
            };
            callers.keys.add(cell, row.clone());
            if let Some(previous) = &written.previous_key_hash {
                callers.keys.add(SecretCell::new(api_key::read_hash(previous)?), row);
            }
        }
        CallerKind::Jwt => {
            let source = match (&written.jwks_url, &written.jwks_file) {
                (Some(address), _) => {
                    Source::Address(Box::new(KeySource::new(address.clone(), written.ca_file.clone())?))
                }
                (None, Some(file)) => Source::File(file.clone()),
                (None, None) => return Err(needed("jwks")),
            };
            let named = written.algorithms.clone();
            let options = IssuerOptions {
                issuer: written.issuer.clone().ok_or_else(|| needed("issuer"))?,
                audience: written.audience.clone().ok_or_else(|| needed("audience"))?,
                algorithms: named.unwrap_or_else(|| ALGORITHMS.map(str::to_owned).to_vec()),
                subjects: list(&written.subjects),
                source,
            };
            let issuer = Arc::new(Issuer::new(options, row)?);
            let watched = format!("callers.{}.jwks_file", written.name);
            rotation.watch(watched, written.jwks_file.clone(), Arc::clone(&issuer), |issuer| issuer.renew());
            callers.issuers.push(issuer);
        }
        CallerKind::Mtls => {
            callers.certificates.add(list(&written.subjects), list(&written.subject_alt_names), row);
        }
        CallerKind::IamToken => {
            let iam = written.iam_endpoint.as_ref().ok_or_else(|| needed("iam"))?;
            let judge = TokenIntrospection::new(iam, written.ca_file.clone())?;
            let domains = list(&written.domains);
            callers.iam.push(IamTokens::new(judge, domains, projects(written)?, row, Arc::clone(clock)));
        }
        CallerKind::Aksk => {
            let access_key = written.access_key.as_ref().ok_or_else(|| needed("access_key"))?;
            let secret_key = written.secret_key.as_ref().ok_or_else(|| needed("secret_key"))?;
            let watched = format!("callers.{}", written.name);
            let key = credentials::access_key_cell(watched, access_key, secret_key, None, rotation);
            callers.signers.add(key, projects(written)?, row, Arc::clone(clock));
        }
    }
    Ok(())
}

/// The hash of an API key that is read again when its file changes.
fn key_cell(caller: &str, key: &Secret, rotation: &mut Rotation) -> SecretCell<[u8; 32]> {
    let cell = SecretCell::new(api_key::hash_of(key.expose()));
    let from = key.clone();
    let file = key.file().map(Path::to_owned);
    rotation.watch(format!("callers.{caller}.key"), file, cell.clone(), move |into| {
        into.replace_if(api_key::hash_of(from.reread()?.expose_secret()), |old, new| old != new);
        Ok(())
    });
    cell
}

fn projects(written: &config::Caller) -> Result<Vec<ProjectId>, String> {
    let ids = written.project_ids.iter().flatten();
    ids.map(|id| id.parse().map_err(|_| format!("project_id: {id} is no id of a project"))).collect()
}

/// Permissions of a caller from the policies.
fn grants(config: &Config, caller: &str) -> Result<Arc<[Grant]>, String> {
    let own = config.policies.iter().filter(|policy| policy.callers.iter().any(|name| name == caller));
    own.map(|policy| {
        let mut matches = crate::compose::upstreams::matches(&policy.r#match)?;
        Ok(Grant {
            allow: policy.actions.iter().filter_map(|word| Action::parse(word)).collect(),
            upstreams: policy.upstreams.clone().unwrap_or_default(),
            // For a route they are targets; for a policy they are what is overwritten, be it by way of a server.
            disks: std::mem::take(&mut matches.volume_id),
            matches,
        })
    })
    .collect()
}

/// How fast callers may be.
pub(crate) fn rates(config: &Config) -> RateLayer {
    let general = Rate { per_second: config.limits.rate_per_second, burst: config.limits.rate_burst };
    let own = config
        .callers
        .iter()
        .filter(|caller| caller.rate_per_second.is_some() || caller.rate_burst.is_some());
    let own = own.map(|caller| {
        let per_second = caller.rate_per_second.unwrap_or(general.per_second);
        let rate = Rate { per_second, burst: caller.rate_burst.unwrap_or(general.burst) };
        (caller.name.clone(), rate)
    });
    RateLayer::new(general, own.collect::<Vec<_>>())
}

/// The TLS of all listeners that speak it; none where the configuration has no certificate.
pub(crate) fn tls(
    config: &Config,
    clock: &Arc<dyn Clock>,
    rotation: &mut Rotation,
) -> Result<Option<Arc<Tls>>, BuildErrors> {
    let written = &config.tls;
    let (Some(certificate), Some(key)) = (&written.certificate_file, &written.key) else { return Ok(None) };
    let secret = key.clone();
    let options = tls::Options {
        certificate: certificate.clone(),
        key: Arc::new(move || secret.reread()),
        client_ca_file: written.client_ca_file.clone(),
        client_crl_file: written.client_crl_file.clone(),
        allow_expired_crl: written.allow_expired_crl,
        client_required: written.client_auth == ClientAuth::Required,
        clock: Arc::clone(clock),
    };
    let tls = Arc::new(Tls::new(options).map_err(BuildError::alone("tls"))?);
    let key = key.file().map(Path::to_owned);
    let files =
        [Some(certificate.clone()), key, written.client_ca_file.clone(), written.client_crl_file.clone()];
    rotation.watch("tls", files.into_iter().flatten(), Arc::clone(&tls), |tls| tls.renew());
    Ok(Some(tls))
}

/// Reads every file that listeners and callers are made of.
///
/// # Errors
/// Which cannot be used, and why.
pub fn readable(config: &Config, clock: &Arc<dyn Clock>) -> Result<(), BuildErrors> {
    let (mut rotation, mut build_errors) = (Rotation::new(), BuildErrors::default());
    build_errors.keep(tls(config, clock, &mut rotation));
    for listener in [Listener::Api, Listener::Admin] {
        let made = build_errors.keep(callers(config, listener, clock, None, &mut rotation));
        for issuer in made.unwrap_or_default().issuers {
            let index = config.callers.iter().position(|caller| caller.name == *issuer.name());
            let read = issuer.renew().map_err(|why| format!("jwks_file: {why}"));
            build_errors.keep(read.map_err(BuildError::one(
                "caller",
                index.unwrap_or_default(),
                issuer.name(),
            )));
        }
    }
    build_errors.or(())
}
