//! Fingerpost: a delegated content router for IPFS.
//!
//! It answers one question over HTTP: who has this CID, and how do I reach them?
//!
//! The modules, in reading order. A lookup passes through [`api`], [`resolve`], [`store`] and
//! [`index`]; an announcement through [`ingest`], [`store`] and [`index`]; both speak in [`types`].
//! `docs/ARCHITECTURE.md` is the map with the invariants.

pub mod types;

pub mod body;
pub mod clock;
pub mod data_dir;
pub mod detached;
pub mod http_client;
pub mod index;
pub mod invariant;
pub mod journal;
pub mod media;
pub mod state;
pub mod store;
pub mod text;

pub mod dispatch;

pub mod ingest;
pub mod resolve;
pub mod upstream;

pub mod control;

pub mod admin;
pub mod api;

pub mod config;
pub mod metrics;
pub mod server;
pub mod telemetry;

pub mod cli;
