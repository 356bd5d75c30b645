//! The pretend clouds over real sockets: documented requests, refusals, state machines, faults, strictness.

#[cfg(test)]
mod aksk;
#[cfg(test)]
mod cbr;
mod cinder;
#[cfg(test)]
mod client;
#[cfg(test)]
mod control;
#[cfg(test)]
mod csbs;
#[cfg(test)]
mod evs_iam;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod in_memory;
#[cfg(test)]
mod vbs;
