//! Local index and upstreams as one, by what is asked of it.

mod failing;
mod joining;
mod keeping;
mod sharing;
