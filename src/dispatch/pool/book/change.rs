//! Creates, changes and deletes pools, and provisions their endpoints.
//!
//! Everything is checked before anything is changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::inventory::PoolEndpoint;
use super::super::name::PoolName;
use super::super::problem::{
    ChangeError, Field, PoolDraft, PoolProblem, PoolReference, VOLUME_MAX,
};
use super::super::provision::{FreeEndpoint, provision};
use super::{Book, Pool, PoolId, Rule, RuleId, RuleTarget, rule_name};
use crate::invariant;

/// What [`invariant`] calls it.
const RULE: &str = "a pool has a rule";

/// A checked field: absent, invalid, or a value.
type Checked<T> = Result<Option<T>, PoolProblem>;

impl Book {
    /// Creates a pool with endpoints, and its rule.
    pub fn create(&mut self, draft: PoolDraft) -> Result<PoolId, ChangeError> {
        let name = self.checked_name(draft.name, None);
        let name = name.and_then(|name| name.ok_or(PoolProblem::NameMissing));
        let volume = checked_volume(draft.requested_daily_volume);
        let volume = volume.and_then(|volume| volume.ok_or(PoolProblem::VolumeMissing));
        let overflow = self.checked_overflow(draft.overflow, None);
        let endpoints = match &name {
            // An invalid volume does not hide a lack of endpoints.
            Ok(name) => self.first_endpoints(name, *volume.as_ref().unwrap_or(&1)),
            Err(_) => Ok(Vec::new()),
        };
        match (name, volume, overflow, endpoints) {
            (Ok(name), Ok(requested_daily_volume), Ok(overflow), Ok(endpoints)) => {
                let endpoints = self.names_of(&endpoints);
                let (id, rule) = self.take_ids(&name);
                let overflow = overflow.flatten();
                let pool = Pool { id, name, requested_daily_volume, overflow, rule, endpoints };
                self.pools.insert(id, pool);
                Ok(id)
            }
            (name, volume, overflow, endpoints) => {
                let problems = [name.err(), volume.err(), overflow.err(), endpoints.err()];
                Err(ChangeError::Invalid(problems.into_iter().flatten().collect()))
            }
        }
    }

    /// Updates the fields that the draft gives. If it gives a volume, even an unchanged one,
    /// endpoints are added while the volume is not reached and some are free, and unneeded ones are
    /// released.
    pub fn change(&mut self, id: PoolId, draft: PoolDraft) -> Result<(), ChangeError> {
        let Some(pool) = self.pools.get(&id) else { return Err(ChangeError::NotFound(id)) };
        let name = self.checked_name(draft.name, Some(id));
        let volume = checked_volume(draft.requested_daily_volume);
        let overflow = self.checked_overflow(draft.overflow, Some(id));
        let (name, volume, overflow) = match (name, volume, overflow) {
            (Ok(name), Ok(volume), Ok(overflow)) => (name, volume, overflow),
            (name, volume, overflow) => {
                let problems = [name.err(), volume.err(), overflow.err()];
                return Err(ChangeError::Invalid(problems.into_iter().flatten().collect()));
            }
        };
        let mut pool = pool.clone();
        pool.name = name.unwrap_or(pool.name);
        pool.overflow = overflow.unwrap_or(pool.overflow);
        if let Some(volume) = volume {
            pool.requested_daily_volume = volume;
            self.align_endpoints(&mut pool);
        }
        if let Some(rule) = invariant::present(self.rules.get_mut(&pool.rule), RULE) {
            rule.name = rule_name(id, &pool.name);
        }
        self.pools.insert(id, pool);
        Ok(())
    }

    /// Deletes a pool: its endpoints become free, its rule stays and leads to nothing.
    pub fn remove(&mut self, id: PoolId) -> Result<(), ChangeError> {
        let Some(pool) = self.pools.get(&id) else { return Err(ChangeError::NotFound(id)) };
        let others = self.pools.values().filter(|other| other.overflow == Some(id));
        let problems: Vec<PoolProblem> = others
            .map(|other| PoolProblem::OverflowOf { id: other.id, name: other.name.to_string() })
            .collect();
        if !problems.is_empty() {
            return Err(ChangeError::Invalid(problems));
        }
        if let Some(rule) = invariant::present(self.rules.get_mut(&pool.rule), RULE) {
            rule.target = RuleTarget::Discard;
        }
        self.pools.remove(&id);
        Ok(())
    }

    /// Assigns the next ids, with a rule that leads to the new pool.
    fn take_ids(&mut self, name: &PoolName) -> (PoolId, RuleId) {
        let (id, rule) = (self.next_pool, self.next_rule);
        self.next_pool = PoolId(id.0 + 1);
        self.next_rule = RuleId(rule.0 + 1);
        let target = RuleTarget::Pool(id);
        self.rules.insert(rule, Rule { id: rule, name: rule_name(id, name), target });
        (id, rule)
    }

    fn checked_name(&self, name: Field<String>, own: Option<PoolId>) -> Checked<PoolName> {
        let text = match name {
            Field::Absent => return Ok(None),
            Field::Invalid(why) => return Err(PoolProblem::Field(why)),
            Field::Given(text) => text,
        };
        let name = PoolName::parse(&text)?;
        match self.pool_named(&text) {
            Some(other) if Some(other.id) != own => {
                Err(PoolProblem::NameTaken { name: text, owner: other.id })
            }
            _ => Ok(Some(name)),
        }
    }

    fn checked_overflow(
        &self,
        overflow: Field<Option<PoolReference>>,
        own: Option<PoolId>,
    ) -> Checked<Option<PoolId>> {
        let reference = match overflow {
            Field::Absent => return Ok(None),
            Field::Invalid(why) => return Err(PoolProblem::Field(why)),
            Field::Given(None) => return Ok(Some(None)),
            Field::Given(Some(reference)) => reference,
        };
        let target = match &reference {
            PoolReference::Id(id) => self.pools.get(id),
            PoolReference::Name(name) => self.pool_named(name),
        };
        let Some(target) = target else { return Err(PoolProblem::OverflowUnknown(reference)) };
        if own == Some(target.id) {
            return Err(PoolProblem::OverflowSelf);
        }
        let mut ids: Vec<PoolId> = self.chain(target.id).map(|pool| pool.id).collect();
        if let Some(own) = own
            && let Some(at) = ids.iter().position(|id| *id == own)
        {
            ids.truncate(at + 1);
            let cycle = std::iter::once(own).chain(ids).map(|id| id.to_string());
            return Err(PoolProblem::OverflowCycle(cycle.collect::<Vec<_>>().join(" -> ")));
        }
        Ok(Some(Some(target.id)))
    }

    /// The inventory indices of a new pool's endpoints.
    fn first_endpoints(&self, name: &PoolName, wanted: u64) -> Result<Vec<usize>, PoolProblem> {
        let endpoints = provision(&self.free_for(name), wanted);
        if endpoints.is_empty() { Err(PoolProblem::NoEndpoints) } else { Ok(endpoints) }
    }

    /// Provisions a pool's endpoints for the requested volume. Endpoints removed from the
    /// configuration are neither counted nor released.
    fn align_endpoints(&self, pool: &mut Pool) {
        let wanted = pool.requested_daily_volume;
        let reached = self.daily_volume(pool);
        if reached < wanted {
            let more = provision(&self.free_for(&pool.name), wanted - reached);
            pool.endpoints.extend(self.names_of(&more));
            return;
        }
        let present =
            self.candidates(&pool.name, |endpoint| pool.endpoints.contains(&endpoint.name));
        let needed: BTreeSet<usize> = provision(&present, wanted).into_iter().collect();
        pool.endpoints.retain(|name| {
            self.inventory.index_of(name).is_none_or(|place| needed.contains(&place))
        });
    }

    /// The free endpoints that a pool of this name may use.
    fn free_for(&self, name: &PoolName) -> Vec<FreeEndpoint> {
        let taken = self.taken();
        self.candidates(name, |endpoint| {
            let may_have = endpoint.tied_to.as_ref().is_none_or(|tied_to| name.is(tied_to));
            may_have && !taken.contains(&*endpoint.name)
        })
    }

    fn candidates(
        &self,
        name: &PoolName,
        which: impl Fn(&PoolEndpoint) -> bool,
    ) -> Vec<FreeEndpoint> {
        let endpoints = self.inventory.endpoints().iter().enumerate();
        let candidates = endpoints.filter(|(_, endpoint)| which(endpoint));
        candidates
            .map(|(index, endpoint)| FreeEndpoint {
                index,
                volume: endpoint.limits.daily_volume,
                is_tied: endpoint.tied_to.as_ref().is_some_and(|tied_to| name.is(tied_to)),
            })
            .collect()
    }

    fn names_of(&self, places: &[usize]) -> Vec<Arc<str>> {
        let name = |place: &usize| Some(self.inventory.get(*place)?.name.clone());
        let name = |place| invariant::present(name(place), "places are those of the inventory");
        places.iter().filter_map(name).collect()
    }
}

fn checked_volume(volume: Field<u64>) -> Checked<u64> {
    match volume {
        Field::Absent => Ok(None),
        Field::Invalid(why) => Err(PoolProblem::Field(why)),
        Field::Given(volume @ 1..=VOLUME_MAX) => Ok(Some(volume)),
        Field::Given(volume) => Err(PoolProblem::VolumeRange(volume)),
    }
}
