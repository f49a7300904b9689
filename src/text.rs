//! Text for people: untrusted text made safe to print, errors with their causes, hexadecimal digits.

mod causes;
mod hex;
mod printable;

pub(crate) use causes::{with_causes, with_root_cause};
pub(crate) use hex::hex;
pub(crate) use printable::{printable, printable_json, printable_word};
