//! The server as its users meet it: every test starts the real one on a free port of loopback.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails says where, and clippy knows helpers of tests only in cfg(test)"
)]

mod admin;
mod admin_commands;
mod admin_crash;
mod admin_import;
mod announce;
mod announce_changes;
mod announce_flood;
mod announce_limits;
mod cars;
mod conditional;
mod conformance;
mod cors;
mod crash;
mod data_directory;
mod durability;
mod durability_of_removals;
mod evictions;
mod exports;
mod fake_router;
mod faults;
mod harness;
mod hostile;
mod hostile_records;
mod ipns;
mod ipns_records;
mod ipns_store;
mod journal;
mod limits;
mod metered;
mod odd_store;
mod operations;
mod peers;
mod peers_routes;
mod pools;
mod process;
mod providers;
mod routes;
mod signing;
mod state;
mod state_crash;
mod state_fixtures;
mod statuses;
mod store;
mod streaming;
mod upstream_answers;
mod upstream_formats;
mod upstreams;
