//! generations
