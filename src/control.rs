//! The control plane: what an operator and peer routers decide about who answers what, kept across
//! restarts and published to lookups as one immutable snapshot.
//!
//! Every change is durable before it shows; lookups never wait for one.
