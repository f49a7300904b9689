//! The server as its users meet it: every test starts the real one on a free port of loopback.

mod conditional;
mod cors;
mod faults;
mod harness;
mod hostile;
mod limits;
mod operations;
mod process;
mod providers;
mod statuses;
mod store;
