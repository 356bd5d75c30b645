//! Promises to users, each a file. Every test owns its gateway and its clouds.

mod canary;
mod cases;
mod crash;
mod credentials;
mod disk;
mod documents;
mod evidence;
mod faults;
mod first_minutes;
mod framing;
mod hostile_input;
mod life;
mod main_job;
mod once;
mod operator;
mod replicas;
mod schedule;
mod slow;
mod soak;
mod streams;
mod told;
mod traces;
mod upgrade;
mod upstream_tls;
mod upstream_trust;
mod webhooks;
