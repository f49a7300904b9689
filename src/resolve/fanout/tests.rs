//! Local index and upstreams as one, by what is asked of it.

mod closest;
mod failing;
mod keeping;
mod merging;
mod sharing;
