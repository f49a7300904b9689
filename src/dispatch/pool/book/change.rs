//! Creating, changing and deleting Routes, with the endpoints that come and go with that.
//!
//! Everything is checked before anything is changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::inventory::Endpoint;
use super::super::name::RouteName;
use super::super::problem::{
    ChangeError, Field, RouteDraft, RouteProblem, RouteReference, VOLUME_MAX,
};
use super::super::provision::{Candidate, provision};
use super::{Book, Route, RouteId, Rule, RuleId, RuleTarget, rule_name};

/// A field as it was found to be: not given, wrong, or a value.
type Checked<T> = Result<Option<T>, RouteProblem>;

impl Book {
    /// Creates a Route with endpoints, and its rule.
    pub fn create(&mut self, draft: RouteDraft) -> Result<RouteId, ChangeError> {
        let name = self.checked_name(draft.name, None);
        let name = name.and_then(|name| name.ok_or(RouteProblem::NameMissing));
        let volume = checked_volume(draft.requested_daily_volume);
        let volume = volume.and_then(|volume| volume.ok_or(RouteProblem::VolumeMissing));
        let overflow = self.checked_overflow(draft.overflow, None);
        let endpoints = match &name {
            // A volume that is wrong does not keep a lack of endpoints from being told.
            Ok(name) => self.first_endpoints(name, *volume.as_ref().unwrap_or(&1)),
            Err(_) => Ok(Vec::new()),
        };
        match (name, volume, overflow, endpoints) {
            (Ok(name), Ok(requested_daily_volume), Ok(overflow), Ok(endpoints)) => {
                let endpoints = self.names_of(&endpoints);
                let (id, rule) = self.take_ids(&name);
                let overflow = overflow.flatten();
                let route = Route { id, name, requested_daily_volume, overflow, rule, endpoints };
                self.routes.insert(id, route);
                Ok(id)
            }
            (name, volume, overflow, endpoints) => {
                let problems = [name.err(), volume.err(), overflow.err(), endpoints.err()];
                Err(ChangeError::Invalid(problems.into_iter().flatten().collect()))
            }
        }
    }

    /// Changes what the draft gives. A volume that is given, also the same one again, has endpoints
    /// added while they do not reach it and some are free, or given back that are not needed for it.
    pub fn change(&mut self, id: RouteId, draft: RouteDraft) -> Result<(), ChangeError> {
        let Some(route) = self.routes.get(&id) else { return Err(ChangeError::NotFound(id)) };
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
        let mut route = route.clone();
        route.name = name.unwrap_or(route.name);
        route.overflow = overflow.unwrap_or(route.overflow);
        if let Some(volume) = volume {
            route.requested_daily_volume = volume;
            self.align_endpoints(&mut route);
        }
        if let Some(rule) = self.rules.get_mut(&route.rule) {
            rule.name = rule_name(id, &route.name);
        }
        self.routes.insert(id, route);
        Ok(())
    }

    /// Deletes a Route: its endpoints are free, its rule stays and leads nowhere.
    pub fn remove(&mut self, id: RouteId) -> Result<(), ChangeError> {
        let Some(route) = self.routes.get(&id) else { return Err(ChangeError::NotFound(id)) };
        let others = self.routes.values().filter(|other| other.overflow == Some(id));
        let problems: Vec<RouteProblem> = others
            .map(|other| RouteProblem::OverflowOf { id: other.id, name: other.name.to_string() })
            .collect();
        if !problems.is_empty() {
            return Err(ChangeError::Invalid(problems));
        }
        if let Some(rule) = self.rules.get_mut(&route.rule) {
            rule.target = RuleTarget::Discard;
        }
        self.routes.remove(&id);
        Ok(())
    }

    /// The next ids, and a rule that leads to the Route that gets them.
    fn take_ids(&mut self, name: &RouteName) -> (RouteId, RuleId) {
        let (id, rule) = (self.next_route, self.next_rule);
        self.next_route = RouteId(id.0 + 1);
        self.next_rule = RuleId(rule.0 + 1);
        let target = RuleTarget::Route(id);
        self.rules.insert(rule, Rule { id: rule, name: rule_name(id, name), target });
        (id, rule)
    }

    fn checked_name(&self, name: Field<String>, own: Option<RouteId>) -> Checked<RouteName> {
        let text = match name {
            Field::Absent => return Ok(None),
            Field::Invalid(why) => return Err(RouteProblem::Field(why)),
            Field::Given(text) => text,
        };
        let name = RouteName::parse(&text)?;
        match self.route_named(&text) {
            Some(other) if Some(other.id) != own => {
                Err(RouteProblem::NameTaken { name: text, owner: other.id })
            }
            _ => Ok(Some(name)),
        }
    }

    fn checked_overflow(
        &self,
        overflow: Field<Option<RouteReference>>,
        own: Option<RouteId>,
    ) -> Checked<Option<RouteId>> {
        let reference = match overflow {
            Field::Absent => return Ok(None),
            Field::Invalid(why) => return Err(RouteProblem::Field(why)),
            Field::Given(None) => return Ok(Some(None)),
            Field::Given(Some(reference)) => reference,
        };
        let target = match &reference {
            RouteReference::Id(id) => self.routes.get(id),
            RouteReference::Name(name) => self.route_named(name),
        };
        let Some(target) = target else { return Err(RouteProblem::OverflowUnknown(reference)) };
        if own == Some(target.id) {
            return Err(RouteProblem::OverflowSelf);
        }
        let mut ids: Vec<RouteId> = self.chain(target.id).map(|route| route.id).collect();
        if let Some(own) = own
            && let Some(at) = ids.iter().position(|id| *id == own)
        {
            ids.truncate(at + 1);
            let circle = std::iter::once(own).chain(ids).map(|id| id.to_string());
            return Err(RouteProblem::OverflowCircle(circle.collect::<Vec<_>>().join(" -> ")));
        }
        Ok(Some(Some(target.id)))
    }

    /// The places of the endpoints that a new Route gets.
    fn first_endpoints(&self, name: &RouteName, wanted: u64) -> Result<Vec<usize>, RouteProblem> {
        let endpoints = provision(&self.free_for(name), wanted);
        if endpoints.is_empty() { Err(RouteProblem::NoEndpoints) } else { Ok(endpoints) }
    }

    /// Brings a Route's endpoints in line with the volume requested. What has vanished from the
    /// configuration is neither counted nor given back.
    fn align_endpoints(&self, route: &mut Route) {
        let wanted = route.requested_daily_volume;
        let reached = self.daily_volume(route);
        if reached < wanted {
            let more = provision(&self.free_for(&route.name), wanted - reached);
            route.endpoints.extend(self.names_of(&more));
            return;
        }
        let present =
            self.candidates(&route.name, |endpoint| route.endpoints.contains(&endpoint.name));
        let needed: BTreeSet<usize> = provision(&present, wanted).into_iter().collect();
        route.endpoints.retain(|name| {
            self.inventory.index_of(name).is_none_or(|place| needed.contains(&place))
        });
    }

    /// The endpoints that belong to no Route and that one of this name may have.
    fn free_for(&self, name: &RouteName) -> Vec<Candidate> {
        let taken = self.taken();
        self.candidates(name, |endpoint| {
            let may_have = endpoint.tied_to.as_ref().is_none_or(|tied_to| name.is(tied_to));
            may_have && !taken.contains(&*endpoint.name)
        })
    }

    fn candidates(&self, name: &RouteName, which: impl Fn(&Endpoint) -> bool) -> Vec<Candidate> {
        let endpoints = self.inventory.endpoints().iter().enumerate();
        let candidates = endpoints.filter(|(_, endpoint)| which(endpoint));
        candidates
            .map(|(index, endpoint)| Candidate {
                index,
                volume: endpoint.limits.daily_volume,
                is_tied: endpoint.tied_to.as_ref().is_some_and(|tied_to| name.is(tied_to)),
            })
            .collect()
    }

    fn names_of(&self, places: &[usize]) -> Vec<Arc<str>> {
        let endpoints = places.iter().filter_map(|place| self.inventory.get(*place));
        endpoints.map(|endpoint| endpoint.name.clone()).collect()
    }
}

fn checked_volume(volume: Field<u64>) -> Checked<u64> {
    match volume {
        Field::Absent => Ok(None),
        Field::Invalid(why) => Err(RouteProblem::Field(why)),
        Field::Given(volume @ 1..=VOLUME_MAX) => Ok(Some(volume)),
        Field::Given(volume) => Err(RouteProblem::VolumeRange(volume)),
    }
}
