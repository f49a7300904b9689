//! A book from what was kept of it: everything that a book promises is checked again.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use super::super::inventory::Inventory;
use super::{Book, Route, RouteId, Rule, RuleId, RuleTarget};

/// Why what was kept is no book: no version of this program has written it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BookError {
    /// A Route whose rule is missing, or leads elsewhere.
    #[error("the rule of Route {0} does not lead to it")]
    Rule(RouteId),
    /// A rule that leads to a Route that does not exist.
    #[error("rule {0} leads to a Route that does not exist")]
    Target(RuleId),
    /// A Route that overflows into one that does not exist, or in a circle.
    #[error("Route {0} overflows into nothing, or in a circle")]
    Overflow(RouteId),
    /// Two Routes of one name.
    #[error("Route {0} has another's name")]
    Name(RouteId),
    /// An endpoint of two Routes.
    #[error("Route {0} has an endpoint that is another's")]
    Endpoint(RouteId),
}

impl Book {
    /// A book of these Routes and rules. The next ids are larger than all that there are, also if
    /// `next_ids` is not.
    pub fn restore(
        inventory: Arc<Inventory>,
        routes: Vec<Route>,
        rules: Vec<Rule>,
        next_ids: Option<(RouteId, RuleId)>,
    ) -> Result<Self, BookError> {
        let mut book = Self::new(inventory);
        book.routes = routes.into_iter().map(|route| (route.id, route)).collect();
        book.rules = rules.into_iter().map(|rule| (rule.id, rule)).collect();
        let (next_route, next_rule) = next_ids.unwrap_or(book.next_ids());
        let after_routes = book.routes.last_key_value().map_or(0, |(id, _)| id.0 + 1);
        let after_rules = book.rules.last_key_value().map_or(0, |(id, _)| id.0 + 1);
        book.next_route = RouteId(next_route.0.max(after_routes));
        book.next_rule = RuleId(next_rule.0.max(after_rules));
        book.check()?;
        Ok(book)
    }

    pub(super) fn check(&self) -> Result<(), BookError> {
        let mut names = BTreeSet::new();
        let mut endpoints = BTreeSet::new();
        for route in self.routes.values() {
            let rule = self.rules.get(&route.rule);
            if rule.is_none_or(|rule| rule.target != RuleTarget::Route(route.id)) {
                return Err(BookError::Rule(route.id));
            }
            if !names.insert(route.name.as_str().to_ascii_lowercase()) {
                return Err(BookError::Name(route.id));
            }
            if !route.endpoints.iter().all(|name| endpoints.insert(name)) {
                return Err(BookError::Endpoint(route.id));
            }
            if !self.overflows_soundly(route) {
                return Err(BookError::Overflow(route.id));
            }
        }
        let leads_nowhere = |rule: &&Rule| match rule.target {
            RuleTarget::Route(id) => self.routes.get(&id).is_none_or(|it| it.rule != rule.id),
            RuleTarget::Discard => false,
        };
        match self.rules.values().find(leads_nowhere) {
            Some(rule) => Err(BookError::Target(rule.id)),
            None => Ok(()),
        }
    }

    /// Whether a Route's chain ends, and not because a Route is missing. A chain of more Routes than
    /// there are goes in a circle.
    fn overflows_soundly(&self, route: &Route) -> bool {
        let last = self.chain(route.id).take(self.routes.len() + 1).enumerate().last();
        last.is_some_and(|(at, last)| at < self.routes.len() && last.overflow.is_none())
    }
}
