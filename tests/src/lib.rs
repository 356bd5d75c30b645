//! What the tests of promises share: a whole gateway against simulated clouds, over real sockets.
//!
//! [`World`] owns both and speaks to them as their users do. Nothing here reaches into the gateway:
//! what cannot be seen over HTTP, in the ledger file, or in the clouds' own truth is no promise.

pub mod authority;
mod browser;
mod config;
mod contract;
pub mod h2;
mod http_client;
pub mod issuer;
pub mod pages;
mod process;
pub mod raw;
mod receiver;
pub mod sdks;
pub mod signer;
pub mod tools;
pub mod world;
mod wrong_clock;

pub use authority::Authority;
pub use browser::Browser;
pub use config::TestConfig;
pub use contract::Contract;
pub use http_client::{Answer, Http};
pub use issuer::Issuer;
pub use process::{Process, binary};
pub use receiver::{MetricSeen, Receiver, SpanSeen};
pub use world::{World, words};
pub use wrong_clock::WrongClock;

/// The fictional ids that the simulated clouds begin with.
pub mod ids {
    /// The token scoped to [`PROJECT`].
    pub const TOKEN: &str = "demo-token";
    /// The project.
    pub const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    /// The server, with two disks attached.
    pub const SERVER: &str = "7d2f6c1e-3b0a-4c55-9a51-0f6c2b9e8d14";
    /// Backup and disk of the server's system disk.
    pub const SYSTEM: (&str, &str) =
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b01", "c0ffee00-1111-4222-8333-444455556666");
    /// Backup and disk of the server's data disk.
    pub const DATA: (&str, &str) =
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b02", "c0ffee01-1111-4222-8333-444455556666");
    /// Backup of the detached disk, and the disk.
    pub const FREE: (&str, &str) =
        ("5b6f0b52-1d43-4f6e-9a0d-3c2a7f1e9b03", "c0ffee02-1111-4222-8333-444455556666");
    /// The server's backup in CBR.
    pub const CBR_BACKUP: &str = "0f9e8d7c-6b5a-4948-8372-615049382716";
    /// The server's backup in CSBS.
    pub const CSBS_ITEM: &str = "8a1b9c2d-3e4f-4506-9718-293a4b5c6d7e";
    /// The protection run of that.
    pub const CSBS_CHECKPOINT: &str = "11aa22bb-33cc-44dd-95ee-66ff77008811";
}

/// Canonical requests in that world.
pub mod requests {
    use serde_json::{Value, json};

    use super::ids;

    fn server(backup: &str) -> Value {
        let volumes: Vec<Value> =
            [ids::SYSTEM, ids::DATA].iter().map(|(b, v)| json!({"backup_id": b, "volume_id": v})).collect();
        json!({
            "project_id": ids::PROJECT,
            "source": {"backup_id": backup},
            "target": {"type": "server", "server_id": ids::SERVER, "power_on": true, "volumes": volumes},
        })
    }

    /// The server, from CBR.
    #[must_use]
    pub fn cbr_server() -> Value {
        server(ids::CBR_BACKUP)
    }

    /// The server, from CSBS; the checkpoint is left to the gateway.
    #[must_use]
    pub fn csbs_server() -> Value {
        server(ids::CSBS_ITEM)
    }

    /// An extra disk of the clouds' world, by its number.
    #[must_use]
    pub fn extra_disk(number: usize) -> Value {
        json!({
            "project_id": ids::PROJECT,
            "source": {"backup_id": format!("bac0bac0-0000-4000-8000-{number:012x}")},
            "target": {"type": "volume", "volume_id": format!("d15c0000-0000-4000-8000-{number:012x}")},
        })
    }

    /// The detached disk.
    #[must_use]
    pub fn free_disk() -> Value {
        json!({
            "project_id": ids::PROJECT,
            "source": {"backup_id": ids::FREE.0},
            "target": {"type": "volume", "volume_id": ids::FREE.1},
        })
    }
}
