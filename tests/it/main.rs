//! The server as its users meet it: every test starts the real one on a free port of loopback.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where, and clippy knows helpers of tests only in cfg(test)"
)]

mod cars;
mod conditional;
mod cors;
mod faults;
mod harness;
mod hostile;
mod journal;
mod limits;
mod operations;
mod process;
mod providers;
mod statuses;
mod store;
