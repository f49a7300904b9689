//! Text for people: untrusted text made safe to print, and errors with their causes.

mod causes;
mod printable;

pub(crate) use causes::{with_causes, with_root_cause};
pub(crate) use printable::{printable, printable_json, printable_word};
