//! A setting that names a target, or, when it is empty, leaves the choice to Fingerpost.

use std::fmt;
use std::str::FromStr;

use crate::types::{TargetId, TargetIdError};

/// The id of a target, or none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OptionalTarget(Option<TargetId>);

impl OptionalTarget {
    /// The target; `None` where none is named.
    pub(crate) fn get(&self) -> Option<&TargetId> {
        self.0.as_ref()
    }
}

impl From<TargetId> for OptionalTarget {
    fn from(target: TargetId) -> Self {
        Self(Some(target))
    }
}

impl FromStr for OptionalTarget {
    type Err = TargetIdError;

    fn from_str(text: &str) -> Result<Self, TargetIdError> {
        if text.is_empty() { Ok(Self(None)) } else { TargetId::parse(text).map(Self::from) }
    }
}

impl fmt::Display for OptionalTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |target| target.fmt(formatter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_names_nobody_and_others_are_targets() {
        assert_eq!("".parse(), Ok(OptionalTarget::default()));
        let east: OptionalTarget = "E.ast".parse().unwrap();
        assert_eq!((east.to_string().as_str(), east.get().is_some()), ("east", true));
        assert!("a b".parse::<OptionalTarget>().is_err());
    }
}
