//! Fingerpost: a delegated content router for IPFS.
//!
//! It answers one question over HTTP: who has this CID, and how do I reach them?
//!
//! | module | what it is |
//! |---|---|
//! | [`types`] | keys, peers, addresses, records, filters, IPNS names: pure data |
//! | [`index`] | fingerprints of keys to groups, in memory |
//! | [`journal`] | the durable log: segments, recovery, compaction |
//! | [`data_dir`] | the data directory and its lock |
//! | [`state`] | small state in redb |
//! | [`store`] | the traits `Store` and `IpnsStore`, durable and in memory |
//! | [`ingest`] | decoders of files and of signed announcements |
//! | [`dispatch`] | the routing table, pools, budgets, the exchange of routes: pure |
//! | [`resolve`] | the traits `Resolver` and `Upstream`: routing, fan-out, cache |
//! | [`upstream`] | clients of other routers |
//! | [`control`] | static routes, pools and peer routers, stored and published |
//! | [`api`] | the public HTTP API |
//! | [`admin`] | the admin listener and its API |
//! | [`config`] | the settings |
//! | [`server`] | the composition root |
//! | [`cli`] | the commands |
//!
//! The leaves [`clock`], `body`, `detached`, `http_client`, `invariant`, `media`, `metrics`, `telemetry` and
//! `text` serve all of them. A lookup passes through [`api`], [`resolve`], [`store`] and [`index`]; an
//! announcement through [`ingest`], [`store`] and [`index`]. The library serves the binary and the tests,
//! benchmarks and fuzz targets of this repository; public is only what these use.
//! `docs/ARCHITECTURE.md` is the map with the invariants.

pub mod types;

mod body;
pub mod clock;
pub mod data_dir;
mod detached;
mod http_client;
pub mod index;
mod invariant;
pub mod journal;
mod media;
pub mod state;
pub mod store;
mod text;

pub mod dispatch;

pub mod ingest;
pub mod resolve;
pub mod upstream;

pub mod control;

pub mod admin;
pub mod api;

pub mod config;
mod metrics;
pub mod server;
mod telemetry;

pub mod cli;
