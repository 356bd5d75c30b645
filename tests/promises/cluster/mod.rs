//! Several gateways over one PostgreSQL. Needs the programs of PostgreSQL.

pub(crate) mod events;
pub(crate) mod replicas;
pub(crate) mod rolling_update;
