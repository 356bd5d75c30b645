//! The layers of the inbound stack, one file each. [`crate::middleware::stack`] says in which order they stand.
//! A layer takes plain values, never the configuration.

pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod deadline;
pub(crate) mod errors;
pub(crate) mod rate;
pub(crate) mod ration;
pub(crate) mod share;
pub(crate) mod shed;
pub(crate) mod signature;
pub(crate) mod stack;
pub(crate) mod trace;
pub(crate) mod well_formed;

use std::pin::Pin;

use crate::web::answer::{Answer, Failure};

/// What a layer below the errors layer answers with.
pub(crate) type Result = std::result::Result<Answer, Failure>;
/// The future of such a layer.
pub(crate) type Future = Pin<Box<dyn std::future::Future<Output = Result> + Send>>;
