//! The routing table: the target that answers a lookup, by the longest prefix of its address.
//!
//! An immutable trie over segments, in two slabs: the entries sorted by prefix and, within one,
//! best first; and the nodes, each one's children side by side. Paths are compressed: a node holds
//! all segments up to where entries end or branch, so that an entry costs at most two nodes,
//! however long its prefix is:
//!
//! ```text
//! entries  g | g.ipns | g.providers.sha2-256.c.3 | g.providers.sha2-256.c.4
//! nodes    g ─┬─ ipns
//!             └─ providers.sha2-256.c ─┬─ 3
//!                                      └─ 4
//! ```
//!
//! Invariants: an address has at most one winner, that of its longest prefix with a live entry;
//! among those of one prefix static beats default beats dynamic, then a shorter path wins, then the
//! lower target. An expired entry counts as absent. A lookup descends no deeper than the entries
//! on its path, and allocates nothing.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

use super::RouteAuth;
use crate::clock::UnixMs;
use crate::invariant;
use crate::types::{RoutePrefix, TargetId};

/// Where a route comes from, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteOrigin {
    /// Set by the operator.
    Static,
    /// The default route.
    Default,
    /// Advertised by a peer router.
    Dynamic,
}

impl RouteOrigin {
    /// Its name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Default => "default",
            Self::Dynamic => "dynamic",
        }
    }
}

/// A route: a target answers the lookups under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The prefix.
    pub prefix: RoutePrefix,
    /// The target that answers.
    pub next_hop: TargetId,
    /// Its origin.
    pub origin: RouteOrigin,
    /// The routers on its path, nearest first; empty unless it is dynamic.
    pub path: Vec<String>,
    /// When it expires; `None`: never.
    pub expires_at_ms: Option<UnixMs>,
    /// Its `auth` value as received; `None` for our own routes, which we sign.
    pub auth: Option<RouteAuth>,
}

impl RouteEntry {
    /// Whether it has not expired.
    pub(crate) fn is_live(&self, now_ms: UnixMs) -> bool {
        self.expires_at_ms.is_none_or(|end_ms| end_ms > now_ms)
    }

    /// Orders entries of one prefix, best first.
    fn rank(&self, other: &Self) -> Ordering {
        let rank = |entry: &Self| (entry.origin, entry.path.len());
        rank(self).cmp(&rank(other)).then_with(|| self.next_hop.cmp(&other.next_hop))
    }
}

/// All routes, each with the value that a matching lookup gets.
#[derive(Clone, Debug)]
pub struct RoutingTable<T> {
    entries: Box<[(RouteEntry, T)]>,
    nodes: Box<[Node]>,
}

/// A prefix at which entries end or branch.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The segment that identifies it among its siblings; empty in the root.
    segment: Box<str>,
    /// The segments that follow it, separated by dots.
    further: Box<str>,
    /// One bit for each hex digit that is the segment of a child.
    digits: u16,
    /// First those whose segments are digits, in order: counting bits finds one. Then the others,
    /// sorted.
    children: Range<usize>,
    entries: Range<usize>,
}

impl Node {
    /// The index of a digit's child among the children.
    fn place(&self, digit: u32) -> Option<usize> {
        let bit = 1_u16 << digit;
        (self.digits & bit != 0).then(|| (self.digits & (bit - 1)).count_ones() as usize)
    }
}

impl<T> RoutingTable<T> {
    /// The table of these entries.
    pub fn new(entries: impl IntoIterator<Item = (RouteEntry, T)>) -> Self {
        let mut entries: Box<[(RouteEntry, T)]> = entries.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| {
            one.prefix.segments().cmp(other.prefix.segments()).then_with(|| one.rank(other))
        });
        let nodes = nodes(&entries);
        Self { entries, nodes }
    }

    /// The entry that answers a lookup of an address.
    pub fn find<'a>(
        &self,
        segments: impl Iterator<Item = &'a str>,
        now_ms: UnixMs,
    ) -> Option<(&RouteEntry, &T)> {
        let mut found = None;
        self.walk(segments, |node| found = self.winner(node, now_ms).or(found));
        found
    }

    /// The winner of each prefix of an address, the longest first.
    pub fn matching<'a>(
        &self,
        segments: impl Iterator<Item = &'a str>,
        now_ms: UnixMs,
    ) -> Vec<(&RouteEntry, &T)> {
        let mut found = Vec::new();
        self.walk(segments, |node| found.extend(self.winner(node, now_ms)));
        found.reverse();
        found
    }

    /// The winner of each prefix, by prefix.
    pub fn winners(&self, now_ms: UnixMs) -> Vec<&RouteEntry> {
        let prefixes = self.entries.chunk_by(|(one, _), (other, _)| one.prefix == other.prefix);
        let mut winners: Vec<&RouteEntry> =
            prefixes.filter_map(|entries| live(entries, now_ms)).map(|(entry, _)| entry).collect();
        // The slab is sorted by segments, where a dot sorts before everything else.
        winners.sort_by(|one, other| one.prefix.cmp(&other.prefix));
        winners
    }

    /// Visits the nodes that are prefixes of an address, the shortest first.
    fn walk<'a, 'table>(
        &'table self,
        mut segments: impl Iterator<Item = &'a str>,
        mut visit: impl FnMut(&'table Node),
    ) {
        let root = invariant::present(self.nodes.first(), "a table has a root");
        let Some(mut node) = root else { return };
        while let Some(child) = segments.next().and_then(|segment| self.child(node, segment)) {
            if !goes_on_with(&mut segments, &child.further) {
                return;
            }
            visit(child);
            node = child;
        }
    }

    fn child(&self, node: &Node, segment: &str) -> Option<&Node> {
        let children = self.nodes.get(node.children.clone());
        let children = invariant::present(children, "a node's children are nodes")?;
        if let Some(digit) = digit(segment) {
            return invariant::present(
                children.get(node.place(digit)?),
                "a digit that is set has a child",
            );
        }
        let others = children.get(node.digits.count_ones() as usize..);
        let others = invariant::present(others, "children begin with those of the digits")?;
        let place = others.binary_search_by(|child| (*child.segment).cmp(segment)).ok()?;
        others.get(place)
    }

    fn winner(&self, node: &Node, now_ms: UnixMs) -> Option<(&RouteEntry, &T)> {
        let entries = self.entries.get(node.entries.clone());
        let entries = invariant::present(entries, "a node's entries are in the table")?;
        live(entries, now_ms).map(|(entry, target)| (entry, target))
    }
}

/// The value of a segment that is one lower-case hex digit.
fn digit(segment: &str) -> Option<u32> {
    match *segment.as_bytes() {
        [byte @ b'0'..=b'9'] => Some(u32::from(byte - b'0')),
        [byte @ b'a'..=b'f'] => Some(u32::from(byte - b'a') + 10),
        _ => None,
    }
}

/// Consumes the next segments. Returns whether they are the expected ones, separated by dots.
fn goes_on_with<'a>(segments: &mut impl Iterator<Item = &'a str>, expected: &str) -> bool {
    let mut expected = expected.as_bytes();
    while !expected.is_empty() {
        let Some(segment) = segments.next() else { return false };
        expected = match expected.strip_prefix(segment.as_bytes()) {
            Some([b'.', rest @ ..]) => rest,
            Some([]) => return true,
            Some(_) | None => return false,
        };
    }
    true
}

/// The first live entry.
fn live<T>(entries: &[(RouteEntry, T)], now_ms: UnixMs) -> Option<&(RouteEntry, T)> {
    entries.iter().find(|(entry, _)| entry.is_live(now_ms))
}

/// Sorted entries that share everything before `start`, and continue there.
struct Part<'a, T> {
    parent: usize,
    start: usize,
    entries: &'a [(RouteEntry, T)],
    first_entry: usize,
}

impl<'a, T> Part<'a, T> {
    /// The entries grouped by their next segment, in the order of a node's children.
    fn branches(&self) -> Vec<Part<'a, T>> {
        let mut first_entry = self.first_entry;
        let entries = self.entries.chunk_by(|(one, _), (other, _)| {
            segment(one, self.start) == segment(other, self.start)
        });
        let branches = entries.map(|entries| {
            let branch = Part { entries, first_entry, ..*self };
            first_entry += entries.len();
            branch
        });
        let mut branches: Vec<_> = branches.collect();
        branches.sort_by_key(|branch| branch.digit().is_none());
        branches
    }

    fn digit(&self) -> Option<u32> {
        self.entries.first().and_then(|(entry, _)| digit(segment(entry, self.start)?))
    }

    /// The node of a branch, without children, and the entries below it.
    fn into_node(self, place: usize) -> (Node, Part<'a, T>) {
        let common = common(self.entries, self.start);
        let end = self.start + common.len();
        let ending = self.entries.iter().take_while(|(it, _)| rest(it, end).is_empty()).count();
        let (segment, further) = common.split_once('.').unwrap_or((common, ""));
        let first_below = self.first_entry + ending;
        let node = Node {
            segment: segment.into(),
            further: further.into(),
            entries: self.first_entry..first_below,
            ..Node::default()
        };
        let entries = self.entries.get(ending..).unwrap_or_default();
        (node, Part { parent: place, start: end + 1, entries, first_entry: first_below })
    }
}

/// The trie over sorted entries, the root first. Level by level, so that children are side by side.
fn nodes<T>(entries: &[(RouteEntry, T)]) -> Box<[Node]> {
    let mut nodes = vec![Node::default()];
    let mut waiting = VecDeque::from([Part { parent: 0, start: 0, entries, first_entry: 0 }]);
    while let Some(part) = waiting.pop_front() {
        let first_child = nodes.len();
        let branches = part.branches();
        let digits = branches.iter().filter_map(Part::digit).fold(0, |bits, it| bits | 1 << it);
        for branch in branches {
            let (node, below) = branch.into_node(nodes.len());
            nodes.push(node);
            waiting.push_back(below);
        }
        let children = first_child..nodes.len();
        let parent = nodes.get_mut(part.parent).expect("a part comes after its parent");
        (parent.digits, parent.children) = (digits, children);
    }
    nodes.into()
}

fn segment(entry: &RouteEntry, start: usize) -> Option<&str> {
    rest(entry, start).split('.').next()
}

/// The part of an entry's prefix from `start` on.
fn rest(entry: &RouteEntry, start: usize) -> &str {
    entry.prefix.as_str().get(start..).unwrap_or_default()
}

/// The whole segments that sorted entries share from `start` on: those that the first and the last
/// share.
fn common<T>(entries: &[(RouteEntry, T)], start: usize) -> &str {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return "" };
    let first = rest(first, start);
    let pairs = first.split('.').zip(rest(last, start).split('.'));
    let chars: usize =
        pairs.take_while(|(one, other)| one == other).map(|(segment, _)| segment.len() + 1).sum();
    first.get(..chars.saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
