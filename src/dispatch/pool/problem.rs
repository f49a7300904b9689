//! What is wanted of a Route, and what can be wrong with it.
//!
//! Texts of problems are told to the operator as they are: each names the field as the API does and
//! says what to do.

use std::fmt;

use thiserror::Error;

use super::book::RouteId;
use super::name::RouteNameError;

/// The most lookups a day that can be requested: the largest whole number that every JSON reader
/// keeps exact.
pub const VOLUME_MAX: u64 = 1 << 53;

/// A field of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field<T> {
    /// It is not given: a change leaves it as it is.
    Absent,
    /// It is given and cannot be read; the text says what it must be.
    Invalid(&'static str),
    /// Its value.
    Given(T),
}

/// A Route as someone wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDraft {
    /// Its name.
    pub name: Field<String>,
    /// Lookups a day that its endpoints shall be good for.
    pub requested_daily_volume: Field<u64>,
    /// The Route it overflows into; `None`: into none.
    pub overflow: Field<Option<RouteReference>>,
}

/// How one Route names another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteReference {
    /// By its id.
    Id(RouteId),
    /// By its name, whatever the case.
    Name(String),
}

impl fmt::Display for RouteReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "the id {id}"),
            Self::Name(name) => write!(f, "the name {name:?}"),
        }
    }
}

/// Why a Route cannot be as it is wanted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteProblem {
    /// A field cannot be read.
    #[error("{0}")]
    Field(&'static str),
    /// A Route without a name.
    #[error("name is missing: give the Route one")]
    NameMissing,
    /// Not a name.
    #[error(transparent)]
    Name(#[from] RouteNameError),
    /// The name of another Route.
    #[error("name {name:?} is taken by Route {owner}: choose another")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        owner: RouteId,
    },
    /// A Route without a volume.
    #[error("requested_target_daily_volume is missing: say how many lookups a day are wanted")]
    VolumeMissing,
    /// A volume that cannot be.
    #[error("requested_target_daily_volume is {0}: give a whole number from 1 to {VOLUME_MAX}")]
    VolumeRange(u64),
    /// Nothing is there to overflow into.
    #[error("overflow_route names no Route: none has {0}; name one that exists, or null")]
    OverflowUnknown(RouteReference),
    /// A Route that would overflow into itself.
    #[error("overflow_route is this Route itself: name another, or null")]
    OverflowSelf,
    /// Routes that would overflow in a circle.
    #[error(
        "overflow_route would lead in a circle, {0}: name one that does not lead back, or null"
    )]
    OverflowCircle(String),
    /// The inventory has nothing for it.
    #[error(
        "no endpoint is free for this Route: add an [[endpoint]] to the configuration, or free some \
         by deleting a Route or requesting less of it"
    )]
    NoEndpoints,
    /// A Route that is to go while another overflows into it.
    #[error("Route {id} {name:?} overflows into this one: change its overflow_route first")]
    OverflowOf {
        /// The other.
        id: RouteId,
        /// The other's name.
        name: String,
    },
}

/// Why a change of Routes is not made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// There is no such Route.
    #[error("there is no Route {0}: GET /ga/api/v3/eng/routes lists those that there are")]
    NotFound(RouteId),
    /// All that is wrong with what is wanted.
    #[error("{}", texts(.0))]
    Invalid(Vec<RouteProblem>),
}

fn texts(problems: &[RouteProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
