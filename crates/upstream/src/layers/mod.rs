//! The layers of the way out, one file each. [`crate::stack`] says in which order they stand.

pub(crate) mod authorise;
pub(crate) mod breaker;
pub(crate) mod deadline;
pub(crate) mod exchange;
pub(crate) mod limit;
pub(crate) mod retry;
pub(crate) mod trace;
pub(crate) mod translate;

use std::sync::Arc;
use std::time::Duration;

use crate::{Behalf, Journal, Token, TraceContext};

/// What the layers must know of a call besides HTTP. Travels in the request's extensions.
#[derive(Clone)]
pub(crate) struct Purpose {
    /// What the call is made for.
    pub(crate) behalf: Behalf,
    /// Whether the call overwrites disks.
    pub(crate) restores: bool,
    /// The path with placeholders, for span names and metrics.
    pub(crate) template: &'static str,
    /// The project that the path is of.
    pub(crate) project: String,
    /// Longest time of one attempt.
    pub(crate) timeout: Duration,
    /// The caller's token.
    pub(crate) token: Option<Token>,
    /// Where repeated sends are written down.
    pub(crate) journal: Option<Arc<dyn Journal>>,
    /// The trace the call belongs to.
    pub(crate) trace: Option<TraceContext>,
    /// Which attempt this is, counted from 1.
    pub(crate) attempt: u32,
    /// Whether an earlier attempt met a 401, after which the credential was renewed.
    pub(crate) renewed: bool,
}

impl Purpose {
    /// A call of this project of which nothing else is known: it may restore, so it is never repeated.
    pub(crate) fn of(project: &str) -> Self {
        Self {
            project: project.to_owned(),
            behalf: Behalf::Poll,
            restores: true,
            template: "",
            timeout: Duration::from_secs(30),
            token: None,
            journal: None,
            trace: None,
            attempt: u32::MAX,
            renewed: true,
        }
    }
}
