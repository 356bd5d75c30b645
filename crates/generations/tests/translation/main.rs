//! What each generation says and hears, held against docs/reference/cloud-apis.md: data where it can be
//! data, and an upstream made of closures for the reads.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cases;
mod check;
mod codes;
mod declares;
mod follow_cbr;
mod follow_cinder;
mod follow_csbs;
mod follow_vbs;
mod mapping;
mod prepare;
mod properties;
mod schemas;
mod snapshots;
mod source_apis;
mod support;
