//! End-to-end tests: a whole gateway against simulated clouds, over real sockets. Every test owns its gateway and its
//! clouds. A folder is what it holds for; README.md says which question leads to which folder.

mod api;
mod at_most_once;
mod auth;
mod browser;
mod cli;
mod clouds;
mod cluster;
mod compat;
mod hostile;
mod operations;
mod repository;
mod sdks;
