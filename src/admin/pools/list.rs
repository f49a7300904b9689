//! Lists of pools, a page at a time.
//!
//! A page is got by its number, or by the token that the page before it gave. A number says how many
//! Pools to leave out, so a pool that is deleted in between moves the others. A token says after
//! which id to go on: pages of tokens neither repeat nor skip a pool that is there all the time. The
//! bytes of a token, in URL-safe base64:
//!
//! ```text
//! version (1, value 1) | id (8) | page (8) | check (8)
//! ```
//!
//! The check covers all before it and the filter by name, so that a token goes on only with the
//! list that it is from. A client can forge one, and learns nothing secret.

use multibase::Base;

use crate::admin::error::PoolError;
use crate::admin::wire::{PoolList, PoolPagination};
use crate::dispatch::pool::{Book, Pool, PoolId};

/// Pools on a page.
const PER_PAGE: u64 = 100;

/// The largest number that every JSON reader keeps exact.
const PAGE_MAX: u64 = 1 << 53;

const TOKEN_VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;
const CHECK_CONTEXT: &str = "fingerpost 2026-01-01 page tokens of lists of Routes";

/// What of the list is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListQuery {
    /// What names must contain, whatever the case.
    name: String,
    start: Start,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Page(u64),
    After(PagePosition),
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PagePosition {
    /// The last pool of the page before.
    id: PoolId,
    /// The page that begins after it.
    page: u64,
}

impl ListQuery {
    /// Reads the part of a URL after `?`. Parameters that are not known are ignored.
    pub(super) fn parse(query: &str) -> Result<Self, PoolError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let mut problems = Vec::new();
        let mut only = |wanted: &str| {
            let mut values = pairs.iter().filter(|(name, _)| name == wanted);
            let first = values.next().map(|(_, value)| &**value);
            if values.next().is_some() {
                problems.push(format!("{wanted} is given more than once: give it once"));
            }
            first
        };
        let (name, page, token) = (only("name"), only("page"), only("page_token"));
        let name = name.unwrap_or_default().to_owned();
        let page_start = page.map(page_start).transpose();
        let token_start = token.map(|token| token_start(token, &name)).transpose();
        if page.is_some() && token.is_some() {
            problems.push("page and page_token exclude each other: give one of them".to_owned());
        }
        match (page_start, token_start) {
            (Ok(page), Ok(token)) if problems.is_empty() => {
                Ok(Self { name, start: token.or(page).unwrap_or(Start::Page(0)) })
            }
            (page, token) => {
                problems.extend(page.err().into_iter().chain(token.err()));
                Err(PoolError::Request(problems))
            }
        }
    }

    /// The page as pools are now.
    pub(super) fn answer(&self, book: &Book) -> PoolList {
        let matching = || book.pools().values().filter(|pool| pool.name.contains(&self.name));
        let num_records = matching().count() as u64;
        let (page, mut rest): (u64, Box<dyn Iterator<Item = &Pool>>) = match self.start {
            Start::Page(page) => {
                let before = usize::try_from(page.saturating_mul(PER_PAGE)).unwrap_or(usize::MAX);
                (page, Box::new(matching().skip(before)))
            }
            Start::After(PagePosition { id, page }) => {
                (page, Box::new(matching().filter(move |pool| pool.id > id)))
            }
        };
        let pools: Vec<&Pool> = rest.by_ref().take(PER_PAGE as usize).collect();
        let last = pools.last().map(|pool| pool.id);
        let next = rest.next().and(last).map(|id| PagePosition { id, page: page + 1 });
        PoolList {
            routes: pools.into_iter().map(|pool| book.summary(pool).into()).collect(),
            pagination: PoolPagination {
                page,
                per_page: PER_PAGE,
                num_pages: num_records.div_ceil(PER_PAGE),
                num_records,
                next_page_token: next.map(|next| next.to_token(&self.name)),
            },
        }
    }
}

fn page_start(text: &str) -> Result<Start, String> {
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let page = is_number.then(|| text.parse().ok()).flatten().filter(|page| *page <= PAGE_MAX);
    let wrong = || format!("page is {text:?}: give a whole number from 0 to {PAGE_MAX}");
    page.map(Start::Page).ok_or_else(wrong)
}

fn token_start(text: &str, name: &str) -> Result<Start, String> {
    PagePosition::from_token(text, name).map(Start::After).ok_or_else(|| {
        "page_token is not one that a list with this name filter gave: send next_page_token as it \
         was, with the same `name`, or begin anew without it"
            .to_owned()
    })
}

impl PagePosition {
    fn to_token(self, name: &str) -> String {
        let mut bytes = self.bytes().to_vec();
        bytes.extend(self.check(name));
        Base::Base64Url.encode(bytes)
    }

    fn from_token(text: &str, name: &str) -> Option<Self> {
        let bytes = Base::Base64Url.decode(text).ok()?;
        let rest = bytes.strip_prefix(&[TOKEN_VERSION])?;
        let (id, rest) = rest.split_first_chunk()?;
        let (page, check) = rest.split_first_chunk()?;
        let position =
            Self { id: PoolId(u64::from_be_bytes(*id)), page: u64::from_be_bytes(*page) };
        (check == position.check(name) && position.page <= PAGE_MAX).then_some(position)
    }

    fn bytes(self) -> [u8; 17] {
        let mut bytes = [TOKEN_VERSION; 17];
        let (_, rest) = bytes.split_at_mut(1);
        let (id, page) = rest.split_at_mut(8);
        id.copy_from_slice(&self.id.0.to_be_bytes());
        page.copy_from_slice(&self.page.to_be_bytes());
        bytes
    }

    fn check(self, name: &str) -> [u8; CHECK_BYTES] {
        let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
        hasher.update(&self.bytes()).update(name.to_ascii_lowercase().as_bytes());
        let mut check = [0; CHECK_BYTES];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

#[cfg(test)]
mod tests;
