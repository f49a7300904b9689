//! The draft of a pool, and what can be wrong with it.
//!
//! Texts of problems reach the operator unchanged: each names the field as the API does and says
//! what to do.

use std::fmt;

use thiserror::Error;

use super::book::PoolId;
use super::name::PoolNameError;

/// The most lookups a day that can be requested: the largest whole number that every JSON reader
/// keeps exact.
pub const VOLUME_MAX: u64 = 1 << 53;

/// A field of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field<T> {
    /// Not given: a change keeps the current value.
    Absent,
    /// Given, but invalid; the text says what is expected.
    Invalid(&'static str),
    /// Its value.
    Given(T),
}

/// A pool as requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDraft {
    /// Its name.
    pub name: Field<String>,
    /// The lookups a day that its endpoints should allow.
    pub requested_daily_volume: Field<u64>,
    /// The pool it overflows into, if any.
    pub overflow: Field<Option<PoolReference>>,
}

/// A reference to another pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolReference {
    /// By its id.
    Id(PoolId),
    /// By its name, case-insensitive.
    Name(String),
}

impl fmt::Display for PoolReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "the id {id}"),
            Self::Name(name) => write!(f, "the name {name:?}"),
        }
    }
}

/// Why a draft is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PoolProblem {
    /// An invalid field.
    #[error("{0}")]
    Field(&'static str),
    /// A pool without a name.
    #[error("name is missing: give the pool one")]
    NameMissing,
    /// Not a name.
    #[error(transparent)]
    Name(#[from] PoolNameError),
    /// The name of another pool.
    #[error("name {name:?} is taken by pool {owner}: choose another")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        owner: PoolId,
    },
    /// A pool without a volume.
    #[error("requested_target_daily_volume is missing: say how many lookups a day are wanted")]
    VolumeMissing,
    /// A volume out of range.
    #[error("requested_target_daily_volume is {0}: give a whole number from 1 to {VOLUME_MAX}")]
    VolumeRange(u64),
    /// The overflow pool does not exist.
    #[error("overflow_route names no pool: none has {0}; name one that exists, or null")]
    OverflowUnknown(PoolReference),
    /// A pool that would overflow into itself.
    #[error("overflow_route is this pool itself: name another, or null")]
    OverflowSelf,
    /// A cycle of overflow pools.
    #[error("overflow_route would lead in a cycle, {0}: name one that does not lead back, or null")]
    OverflowCycle(String),
    /// The inventory has no free endpoint for it.
    #[error(
        "no endpoint is free for this pool: add an [[endpoint]] to the configuration, or free some \
         by deleting a pool or requesting less of it"
    )]
    NoEndpoints,
    /// A pool to delete, while another overflows into it.
    #[error("pool {id} {name:?} overflows into this one: change its overflow_route first")]
    OverflowOf {
        /// The other.
        id: PoolId,
        /// The other's name.
        name: String,
    },
}

/// Why a change of pools is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// There is no such pool.
    #[error("there is no pool {0}: GET /ga/api/v3/eng/routes lists those that there are")]
    NotFound(PoolId),
    /// Every problem of the draft.
    #[error("{}", texts(.0))]
    Invalid(Vec<PoolProblem>),
}

fn texts(problems: &[PoolProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
