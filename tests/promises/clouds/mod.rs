//! The gateway and the clouds: every API generation, what their answers prove, how often they are asked, with which credential.

pub(crate) mod answers;
pub(crate) mod cases;
pub(crate) mod cinder;
pub(crate) mod credentials;
pub(crate) mod faults;
pub(crate) mod id_mapping;
pub(crate) mod main_job;
pub(crate) mod migration;
pub(crate) mod polling;
pub(crate) mod upstream_tls;
pub(crate) mod upstream_trust;
