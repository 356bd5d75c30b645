//! Promises to users, each a file. Every test owns its gateway and its clouds.

mod canary;
mod cases;
mod faults;
mod framing;
mod hostile_input;
mod life;
mod main_job;
mod once;
mod slow;
mod traces;
mod upstream_tls;
mod upstream_trust;
