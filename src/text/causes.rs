//! An error and its causes in one line, for logs and messages.
//!
//! Some errors say in their own text what their source says too; each text is said once.

use std::error::Error;

/// The error and all its causes, outermost first, separated by colons.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| joined(text, &cause.to_string()))
}

/// The error and its innermost cause: what a person needs where the causes between are layers of
/// libraries.
pub(crate) fn with_root_cause(error: &dyn Error) -> String {
    let root = std::iter::successors(error.source(), |&cause| cause.source()).last();
    match root {
        Some(root) => joined(error.to_string(), &root.to_string()),
        None => error.to_string(),
    }
}

fn joined(text: String, cause: &str) -> String {
    if text.ends_with(cause) { text } else { format!("{text}: {cause}") }
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    enum Layered {
        #[error("cannot look up")]
        Outer(#[source] Box<Layered>),
        #[error("a layer between")]
        Between(#[source] Box<Layered>),
        #[error("the disk is full")]
        Disk(#[from] io::Error),
    }

    fn layered() -> Layered {
        let disk = Layered::Disk(io::Error::other("disk is full"));
        Layered::Outer(Box::new(Layered::Between(Box::new(disk))))
    }

    #[test]
    fn every_cause_is_said_once_and_in_order() {
        let expected = "cannot look up: a layer between: the disk is full";
        assert_eq!(with_causes(&layered()), expected);
        assert_eq!(with_causes(&io::Error::other("alone")), "alone");
    }

    #[test]
    fn the_root_cause_stands_behind_the_error_without_the_layers_between() {
        assert_eq!(with_root_cause(&layered()), "cannot look up: disk is full");
        assert_eq!(with_root_cause(&io::Error::other("alone")), "alone");
    }
}
