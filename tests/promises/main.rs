//! Promises to users, each a file. Every test owns its gateway and its clouds.

mod main_job;
