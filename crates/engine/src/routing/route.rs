//! Selects the upstream by the first matching rule, and records the reason with the restore. Without a match the
//! request is rejected; nothing is sent by default.

use std::sync::Arc;
use std::time::Duration;

use restore_ledger::Entry;
pub use restore_model::CANONICAL;
use restore_model::{Code, Id, Origin, Problem, ProjectId, RestoreRequest, RoutePin, Target, TargetKind};
use restore_upstream::Upstream;
use sha2::{Digest, Sha256};

use super::pairs::Pairs;

/// Conditions of a rule. An empty list matches every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// One of these projects.
    pub project_id: Vec<ProjectId>,
    /// One of these kinds of target.
    pub target: Vec<TargetKind>,
    /// One of these backups as source.
    pub backup_id: Vec<Id>,
    /// One of these servers as target.
    pub server_id: Vec<Id>,
    /// One of these disks as target.
    pub volume_id: Vec<Id>,
}

/// True if a submit must carry an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// It may.
    Optional,
    /// It must.
    Required,
}

/// One rule.
#[derive(Clone)]
pub struct Route {
    /// Its conditions.
    pub matches: Match,
    /// Through a compatibility endpoint of one of these source APIs, [`CANONICAL`] being the API itself; none is through any.
    pub source_api: Vec<String>,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// True if reads come before the send, to compare later ones with.
    pub baseline: bool,
    /// True if a key is needed.
    pub idempotency: Idempotency,
    /// How long after its end a restore answers for its key.
    pub key_window: Duration,
    /// How long after its end a restore answers for an equal request without a key.
    pub duplicate_window: Duration,
    /// When a running restore is overdue.
    pub overdue: Duration,
    /// True if a server may be restored disk by disk, where the upstream restores disks alone.
    pub per_disk_restore: bool,
    /// The share of targets that it takes, 0 to 1.
    pub share: f64,
    /// Where a restore goes that the upstream refuses because it is closed to the project.
    pub fallback_upstream: Option<Arc<Upstream>>,
}

impl Route {
    /// True if this is one of the targets that the route takes. By the target alone, so that a request that is sent again
    /// goes the same way, and what was restored one way is restored that way again.
    fn takes_share(&self, request: &RestoreRequest) -> bool {
        if self.share >= 1.0 {
            return true;
        }
        let mut hash = Sha256::new();
        hash.update(request.project_id.as_str());
        hash.update(request.target.id().folded());
        let digest = hash.finalize();
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        f64::from(number) < self.share * (f64::from(u32::MAX) + 1.0)
    }

    /// True if a restore is done disk by disk: only where the route allows it and the generation has no other way.
    fn fans_out(&self, request: &RestoreRequest) -> bool {
        self.per_disk_restore && self.upstream.generation().restores_by_disks(request.target.kind())
    }

    /// The condition that matches, or the one that does not, as text.
    fn takes(&self, request: &RestoreRequest, source_api: Option<&str>) -> Result<String, String> {
        let through = source_api.unwrap_or(CANONICAL);
        if !self.is_through(through) {
            return Err(format!("it does not take what comes through {through}"));
        }
        let mut why = self.matches.why(request)?;
        if !self.takes_share(request) {
            return Err(format!("this target is not in its share of {}", self.share));
        }
        if !self.source_api.is_empty() {
            why = format!("{why}, through {through}");
        }
        if self.share < 1.0 {
            why = format!("{why}, one of a share of {}", self.share);
        }
        Ok(why)
    }

    /// True if it takes what comes through this.
    fn is_through(&self, source_api: &str) -> bool {
        self.source_api.is_empty() || self.source_api.iter().any(|listed| listed == source_api)
    }
}

/// All rules, in their order, and all upstreams: one that no rule leads to any more still has
/// restores to be followed.
#[derive(Clone, Default)]
pub struct Routes {
    rules: Vec<Route>,
    upstreams: Vec<Arc<Upstream>>,
    /// Upstreams as they were, the latest first.
    former: Vec<Arc<Upstream>>,
    pairs: Arc<Pairs>,
}

/// A request with its way.
#[derive(Clone)]
pub struct Plan {
    /// The rule's upstream.
    pub upstream: Arc<Upstream>,
    /// The part of the rule that the restore stores.
    pub pin: RoutePin,
    /// As in [`Route`].
    pub fallback_upstream: Option<Arc<Upstream>>,
    /// True if a key is needed.
    pub idempotency: Idempotency,
    /// As in [`Route`].
    pub key_window: Duration,
    /// As in [`Route`].
    pub duplicate_window: Duration,
}

impl Plan {
    /// The way that is left where the upstream is closed to the project.
    pub(crate) fn around(&self) -> Option<Self> {
        let upstream = Arc::clone(self.fallback_upstream.as_ref()?);
        let pin = RoutePin {
            upstream: upstream.name().to_owned(),
            generation: upstream.generation().name().to_owned(),
            reason: format!("{}, and {} is closed to this project", self.pin.reason, self.pin.upstream),
            steps: Vec::new(),
            at: Some(upstream.place()),
            ..self.pin.clone()
        };
        Some(Self { upstream, pin, fallback_upstream: None, ..self.clone() })
    }
}

impl Routes {
    /// The rules in the order in which they are tried.
    #[must_use]
    pub fn new(rules: Vec<Route>) -> Self {
        let mut all = Self::default();
        for rule in &rules {
            all = all.and(Arc::clone(&rule.upstream));
        }
        Self { rules, ..all }
    }

    /// Knows this upstream as well, whether or not a rule names it.
    #[must_use]
    pub fn and(mut self, upstream: Arc<Upstream>) -> Self {
        if self.upstream(upstream.name()).is_none() {
            self.upstreams.push(upstream);
        }
        self
    }

    /// Goes by this table where requests name backups as another generation does.
    #[must_use]
    pub fn with_pairs(mut self, pairs: Arc<Pairs>) -> Self {
        self.pairs = pairs;
        self
    }

    /// That table.
    pub(crate) fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// What each rule says to a request, in their order: the upstream it leads to, and what of the request matches, or
    /// what does not. The first that matches is the one that counts.
    pub fn consider<'a>(
        &'a self,
        request: &'a RestoreRequest,
        source_api: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, Result<String, String>)> + 'a {
        self.rules.iter().map(move |rule| (rule.upstream.name(), rule.takes(request, source_api)))
    }

    /// The way of a request, which came through a compatibility endpoint of this source API or none.
    ///
    /// # Errors
    /// [`Code::NoRoute`] when no rule matches.
    pub fn plan(&self, request: &RestoreRequest, source_api: Option<&str>) -> Result<Plan, Problem> {
        for (index, route) in self.rules.iter().enumerate() {
            if let Ok(why) = route.takes(request, source_api) {
                return Ok(Plan {
                    upstream: Arc::clone(&route.upstream),
                    pin: RoutePin {
                        upstream: route.upstream.name().to_owned(),
                        generation: route.upstream.generation().name().to_owned(),
                        reason: format!("routes[{index}] matches {why}"),
                        baseline: route.baseline,
                        overdue_seconds: route.overdue.as_secs(),
                        steps: match route.fans_out(request) {
                            true => request.target.mappings().to_vec(),
                            false => Vec::new(),
                        },
                        at: Some(route.upstream.place()),
                    },
                    fallback_upstream: route.fallback_upstream.clone(),
                    idempotency: route.idempotency,
                    key_window: route.key_window,
                    duplicate_window: route.duplicate_window,
                });
            }
        }
        Err(Problem::new(
            Code::NoRoute,
            format!(
                "none of {} route(s) takes a {} of project {}",
                self.rules.len(),
                request.target.kind().as_str(),
                request.project_id
            ),
        ))
    }

    /// These in the place of others from now on. What was accepted for an upstream that is another now, or gone, still
    /// finds it as it was.
    pub(crate) fn in_place_of(mut self, before: &Self) -> Self {
        let stays = |upstream: &Arc<Upstream>| self.upstreams.iter().any(|own| Arc::ptr_eq(own, upstream));
        let replaced: Vec<_> = before.upstreams.iter().filter(|upstream| !stays(upstream)).cloned().collect();
        self.former = replaced.into_iter().chain(before.former.iter().cloned()).collect();
        self
    }

    /// True if there are upstreams as they were, for restores from then.
    pub(crate) const fn has_former(&self) -> bool {
        !self.former.is_empty()
    }

    /// Forgets upstreams as they were that no restore under way was accepted for, and that nobody is about to use.
    pub(crate) fn without_former(mut self, under_way: &[RoutePin]) -> Self {
        // One is ours, and one is of the rules that this is to take the place of.
        self.former
            .retain(|former| Arc::strong_count(former) > 2 || under_way.iter().any(|pin| is_of(former, pin)));
        self
    }

    /// The upstream that a restore was accepted for: at the place where that was then, as it is now or was before. None
    /// where the configuration has no such place any more: another cloud of the same name has never heard of the restore.
    pub(crate) fn upstream_of(&self, pin: &RoutePin) -> Option<Arc<Upstream>> {
        let all = || self.upstreams.iter().chain(&self.former);
        let named = all().find(|upstream| upstream.name() == pin.upstream && is_of(upstream, pin));
        named.or_else(|| all().find(|upstream| pin.at.is_some() && is_of(upstream, pin))).cloned()
    }

    /// True if the configuration has the place that a restore was accepted for.
    pub(crate) fn names(&self, pin: &RoutePin) -> bool {
        Self { former: Vec::new(), ..self.clone() }.upstream_of(pin).is_some()
    }

    /// The way that a restore takes, as long as there is an upstream at that place.
    #[must_use]
    pub fn pinned(&self, entry: &Entry) -> Option<Plan> {
        let pin = entry.state.route(&entry.intent);
        self.upstream_of(pin).map(|upstream| Plan {
            upstream,
            pin: pin.clone(),
            fallback_upstream: None,
            idempotency: Idempotency::Optional,
            key_window: Duration::ZERO,
            duplicate_window: Duration::ZERO,
        })
    }

    /// The longest time after its end for which any rule answers with a restore: by its key, or as an equal request.
    pub(crate) fn longest_window(&self) -> Duration {
        let windows = self.rules.iter().map(|route| route.key_window.max(route.duplicate_window));
        windows.max().unwrap_or_default()
    }

    /// The longest time for which any rule keeps a key after the end of its restore.
    pub(crate) fn longest_key_window(&self) -> Duration {
        self.rules.iter().map(|route| route.key_window).max().unwrap_or_default()
    }

    /// The upstream of this name.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.name() == name).cloned()
    }

    /// Every upstream, once.
    pub fn upstreams(&self) -> impl Iterator<Item = Arc<Upstream>> + '_ {
        self.upstreams.iter().cloned()
    }

    /// The upstreams that rules lead to for what comes through a compatibility endpoint of this source API, each once, in their order.
    pub(crate) fn of_source_api(&self, source_api: &str) -> Vec<Arc<Upstream>> {
        let mut found: Vec<Arc<Upstream>> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.is_through(source_api)) {
            if !found.iter().any(|known| known.name() == rule.upstream.name()) {
                found.push(Arc::clone(&rule.upstream));
            }
        }
        found
    }

    /// True if a rule leads to this upstream.
    #[must_use]
    pub fn lead_to(&self, upstream: &Upstream) -> bool {
        self.rules.iter().any(|rule| rule.upstream.name() == upstream.name())
    }
}

/// True if a request names backups as another generation than the upstream's does.
pub(crate) fn differ(origin: Option<&Origin>, plan: &Plan) -> bool {
    origin.is_some_and(|origin| origin.generation != plan.pin.generation)
}

/// True if this is where a restore was sent to.
fn is_of(upstream: &Upstream, pin: &RoutePin) -> bool {
    let here = pin.at.as_ref().map_or(upstream.name() == pin.upstream, |at| *at == upstream.place());
    here && upstream.generation().name() == pin.generation
}

impl Match {
    /// True if it takes this request.
    pub(crate) fn takes(&self, request: &RestoreRequest) -> bool {
        self.why(request).is_ok()
    }

    /// True if it takes whatever there is in a project.
    pub(crate) fn takes_everything(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn takes_all_of(&self, project: &ProjectId) -> bool {
        let projects = self.project_id.is_empty() || self.project_id.contains(project);
        projects && self.backup_id.is_empty() && self.server_id.is_empty() && self.volume_id.is_empty()
    }

    /// The condition that matched, or the one that does not, as text.
    fn why(&self, request: &RestoreRequest) -> Result<String, String> {
        let mut reasons = Vec::new();
        let mut ask = |name: &'static str, is_asked: bool, holds: bool| match (is_asked, holds) {
            (true, false) => Err(format!("its {name} is not the request's")),
            (true, true) => {
                reasons.push(name);
                Ok(())
            }
            (false, _) => Ok(()),
        };
        let target =
            |list: &[Id], kind| target_id(&request.target, kind).is_some_and(|id| contains(list, id));
        ask("project_id", !self.project_id.is_empty(), self.project_id.contains(&request.project_id))?;
        ask("target", !self.target.is_empty(), self.target.contains(&request.target.kind()))?;
        ask("backup_id", !self.backup_id.is_empty(), contains(&self.backup_id, &request.source.backup_id))?;
        ask("server_id", !self.server_id.is_empty(), target(&self.server_id, TargetKind::Server))?;
        ask("volume_id", !self.volume_id.is_empty(), target(&self.volume_id, TargetKind::Volume))?;
        Ok(if reasons.is_empty() { "everything".to_owned() } else { reasons.join(" and ") })
    }
}

fn contains(list: &[Id], id: &Id) -> bool {
    list.iter().any(|listed| listed.is_same(id))
}

fn target_id(target: &Target, kind: TargetKind) -> Option<&Id> {
    (target.kind() == kind).then(|| target.id())
}
