//! The state machine against a model of its own, written from the design and not from the code:
//! a table of every pair of state and event, and random histories that are checked step by step.

#[cfg(test)]
mod drawn;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod table;
