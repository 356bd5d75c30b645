//! The served parts of one version of the configuration: the inbound stacks of the API and of the compatibility
//! endpoints, and the admin pages. A reload builds them again and replaces the old ones. Parts that must survive that
//! (the engine, counters, used signatures) are in [`Lasting`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use restore_engine::Engine;
use restore_generations::source_api;
use tower::util::BoxCloneSyncService;
use tower::{Service, service_fn};

use super::access;
use crate::admin::Admin;
use crate::admin::reload::Reload;
use crate::api;
use crate::api::streams::Streams;
use crate::auth::same_site::{Hosts, SameSite};
use crate::auth::{Callers, UsedSignatures};
use crate::compose::rotation::Rotation;
use crate::dispatch::endpoints::Endpoints;
use crate::dispatch::usage::Usage;
use crate::dispatch::{self, endpoints};
use crate::handler::Dispatch;
use crate::middleware::shed::Places;
use crate::middleware::stack::{self, InboundStack};
use crate::middleware::{route, trace};
use crate::server::arrival::Arrived;
use crate::server::connections::Connections;
use crate::server::memory::Memory;
use crate::server::tls::Tls;
use crate::telemetry::logs::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::web::answer;
use restore_config::{Config, Listener};

/// The admin pages behind one short name.
pub(crate) type Pages = BoxCloneSyncService<Request<Arrived>, Response<answer::Body>, Infallible>;

/// Parts that survive a reload.
pub(crate) struct Lasting {
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    pub(crate) memory: Memory,
    /// Of the API and its compatibility endpoints, as are the places.
    pub(crate) connections: Connections,
    pub(crate) places: Places,
    pub(crate) admin_places: Places,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) reload: Reload,
    pub(crate) log_level: LogLevel,
    pub(crate) used: UsedSignatures,
    pub(crate) usage: Usage,
    pub(crate) streams: Streams,
    pub(crate) admin_streams: Streams,
    /// True if traces are exported.
    pub(crate) exporting: bool,
    /// Of the start, where a listener speaks TLS.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// The served parts of one configuration.
pub(crate) struct Serving {
    pub(crate) api: InboundStack,
    /// Compatibility endpoints with a listener of their own, in the order of the configuration.
    pub(crate) apart: Vec<Apart>,
    pub(crate) admin: Pages,
    /// Those of the API, for a next version that has the same.
    callers: Arc<Callers>,
    /// Of the API and of the admin pages, opened by these callers.
    streams: [Streams; 2],
}

impl Serving {
    /// Ends the streams that the callers of this version have open, where the next one has others: who may no longer
    /// look must not go on looking.
    pub(crate) fn make_way_for(&self, next: &Self) {
        if !Arc::ptr_eq(&self.callers, &next.callers) {
            self.streams.iter().for_each(Streams::end);
        }
    }
}

/// A compatibility endpoint with a listener of its own.
pub(crate) struct Apart {
    pub(crate) source_api: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) inbound: InboundStack,
}

impl Lasting {
    /// Builds the parts for this configuration. `before` has the parts of the configuration in effect, if there is one.
    ///
    /// # Errors
    /// Which part cannot be made, and why; nothing that is served changes by that.
    pub(crate) fn serving(
        &self,
        config: &Config,
        before: Option<(&Config, &Serving)>,
        rotation: &mut Rotation,
    ) -> Result<Serving, String> {
        // With the keys of issuers and what IAM said of tokens.
        let same = before.filter(|(old, _)| {
            (&old.callers, &old.policies, &old.listen) == (&config.callers, &config.policies, &config.listen)
        });
        let mut known = |listener| {
            let refusals = Some(self.metrics.refusals());
            access::callers(config, listener, self.engine.clock(), refusals, rotation)
        };
        let (callers, streams) = match same {
            Some((_, serving)) => (Arc::clone(&serving.callers), serving.streams.clone()),
            None => (Arc::new(known(Listener::Api)?), [self.streams.apart(), self.admin_streams.apart()]),
        };
        let [of_the_api, of_admin] = streams.clone();
        let admin_callers = known(Listener::Admin)?;
        let dangers = restore_config::dangers(&config.to_json());
        for danger in &dangers {
            tracing::warn!(key = danger.key, why = danger.why, "configuration disables a protection");
        }
        let names = config.listen.allowed_hosts.iter().flatten().map(|name| name.to_ascii_lowercase());
        let same_site = SameSite { hosts: Hosts::Any, names: names.collect() };
        let app = Arc::new(api::App {
            engine: self.engine.clone(),
            wait_cap: config.limits.max_wait_seconds,
            max_json_depth: config.limits.max_json_depth,
            max_page_size: config.limits.max_page_size,
            origins: source_api::ALL.iter().map(|endpoint| endpoints::origin(config, *endpoint)).collect(),
            usage: self.usage.clone(),
            streams: of_the_api,
        });
        let rate = access::rates(config);
        let inbound = |endpoints: Endpoints, address: SocketAddr| {
            let parts = stack::Parts {
                // Callers prove who they are, and a page cannot.
                same_site: SameSite {
                    hosts: if callers.is_empty() {
                        Hosts::of(address.ip().is_loopback(), false)
                    } else {
                        Hosts::Any
                    },
                    names: same_site.names.iter().cloned().chain(endpoints.hosts()).collect(),
                },
                route: route::RouteLayer::new(dispatch::Router::new(endpoints)),
                trace: trace::TraceLayer::new(
                    self.metrics.requests(),
                    config.telemetry.sample_ratio,
                    config.telemetry.trust_remote_sampling,
                    !callers.is_empty(),
                    self.exporting,
                    config.telemetry.access_log.then_some(config.telemetry.access_log_ratio),
                ),
                callers: Arc::clone(&callers),
                used: self.used.clone(),
                rate: rate.clone(),
                places: self.places.clone(),
                memory: self.memory.clone(),
                reached: self.metrics.limits(),
            };
            stack::build(&config.limits, parts, Dispatch(Arc::clone(&app)))
        };
        let endpoints = endpoints::open(config)?;
        let api = inbound(endpoints.beside_the_api, config.listen.api);
        let apart = endpoints.apart.into_iter().map(|(endpoint, address)| {
            let source_api = endpoint.endpoint.source_api();
            Apart { source_api, address, inbound: inbound(Endpoints::only(endpoint), address) }
        });
        let apart = apart.collect();
        let pages = Arc::new(Admin {
            engine: self.engine.clone(),
            app: api::App { streams: of_admin, ..(*app).clone() },
            metrics: self.metrics.clone(),
            reached: self.metrics.limits(),
            places: self.admin_places.clone(),
            config: config.to_json(),
            webhooks: config.webhooks.iter().map(|webhook| webhook.name.clone()).collect(),
            stopping: Arc::clone(&self.stopping),
            same_site: SameSite {
                hosts: Hosts::of(config.listen.admin.ip().is_loopback(), !admin_callers.is_empty()),
                ..same_site
            },
            is_loopback: config.listen.admin.ip().is_loopback(),
            callers: admin_callers,
            dangers,
            tls: self.tls.clone(),
            memory: self.memory.clone(),
            connections: self.connections.clone(),
            usage: self.usage.clone(),
            reload: self.reload.clone(),
            log_level: self.log_level.clone(),
        });
        let admin = BoxCloneSyncService::new(service_fn(move |request| {
            let pages = Arc::clone(&pages);
            async move { pages.answer(request).await }
        }));
        Ok(Serving { api, apart, admin, callers, streams })
    }
}

/// A service that another one can take the place of. Requests under way end where they began.
#[derive(Debug, Default)]
pub(crate) struct Current<S>(Arc<RwLock<S>>);

impl<S> Clone for Current<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Current<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Arc::new(RwLock::new(service)))
    }

    pub(crate) fn replace(&self, service: S) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = service;
    }
}

impl<R, S: Service<R> + Clone> Service<R> for Current<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // The ways in are always ready: what is too much is turned away by a layer.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> S::Future {
        let mut service = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        service.call(request)
    }
}
