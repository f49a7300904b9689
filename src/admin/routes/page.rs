//! Which part of a list is wanted: `page`, from 0, and `size`. Without a size everything is one page.

use actix_web::HttpRequest;

use super::parameter;
use crate::admin::error::{AdminError, RouteError};
use crate::admin::wire::Page;

/// The greatest number of either: a list has fewer.
const NUMBER_MAX: u32 = u32::MAX;

/// A wanted part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WantedPage {
    number: u32,
    /// `None`: all on one page.
    size: Option<u32>,
}

impl WantedPage {
    /// What a request wants.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, AdminError> {
        Ok(Self::new(parameter(request, "page"), parameter(request, "size"))?)
    }

    fn new(page: Option<String>, size: Option<String>) -> Result<Self, RouteError> {
        let number = page.map(|value| whole("page", value, 0)).transpose()?.unwrap_or(0);
        let size = size.map(|value| whole("size", value, 1)).transpose()?;
        Ok(Self { number, size })
    }

    /// The wanted part, and what to say of it.
    pub(super) fn cut<T>(self, all: Vec<T>) -> (Vec<T>, Page) {
        let total = all.len();
        let size = self.size.map_or(total, |size| size as usize);
        let pages = if self.size.is_some() { total.div_ceil(size) } else { 1 };
        let page = Page {
            size: size.to_string(),
            total_elements: total.to_string(),
            total_pages: pages.to_string(),
            number: self.number.to_string(),
        };
        let before = (self.number as usize).saturating_mul(size.max(1));
        let part = all.into_iter().skip(before).take(size).collect();
        (part, page)
    }
}

fn whole(parameter: &'static str, value: String, min: u32) -> Result<u32, RouteError> {
    let is_number = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
    let number = value.parse().ok().filter(|number| is_number && *number >= min);
    number.ok_or(RouteError::Page { parameter, value, min, max: NUMBER_MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(number: u32, size: Option<u32>, total: usize) -> (Vec<usize>, [String; 4]) {
        let (part, page) = WantedPage { number, size }.cut((0..total).collect());
        (part, [page.size, page.total_elements, page.total_pages, page.number])
    }

    #[test]
    fn without_a_size_everything_is_one_page() {
        assert_eq!(cut(0, None, 2), (vec![0, 1], ["2", "2", "1", "0"].map(str::to_owned)));
        assert_eq!(cut(0, None, 0), (vec![], ["0", "0", "1", "0"].map(str::to_owned)));
        assert_eq!(cut(1, None, 2), (vec![], ["2", "2", "1", "1"].map(str::to_owned)));
    }

    #[test]
    fn with_a_size_the_last_page_may_be_shorter_and_those_after_it_are_empty() {
        assert_eq!(cut(1, Some(2), 3), (vec![2], ["2", "3", "2", "1"].map(str::to_owned)));
        assert_eq!(cut(2, Some(2), 3), (vec![], ["2", "3", "2", "2"].map(str::to_owned)));
        assert_eq!(cut(0, Some(5), 0), (vec![], ["5", "0", "0", "0"].map(str::to_owned)));
        let far = cut(u32::MAX, Some(u32::MAX), 3);
        assert_eq!((far.0, &*far.1[3]), (vec![], "4294967295"));
    }

    #[test]
    fn what_is_no_whole_number_says_what_is() {
        let new =
            |page: &str, size: &str| WantedPage::new(Some(page.to_owned()), Some(size.to_owned()));
        assert_eq!(
            new("01", "4294967295").unwrap(),
            WantedPage { number: 1, size: Some(u32::MAX) }
        );
        for (page, size) in [
            ("", "1"),
            ("-1", "1"),
            ("+1", "1"),
            ("1.0", "1"),
            (" 1", "1"),
            ("one", "1"),
            ("4294967296", "1"),
            ("0", "0"),
            ("0", ""),
            ("0", "all"),
        ] {
            assert!(new(page, size).is_err(), "{page} {size}");
        }
        let error = new("0", "0").unwrap_err().to_string();
        assert_eq!(error, "size is \"0\"; give a whole number from 1 to 4294967295");
    }

    proptest! {
        #[test]
        fn pages_together_are_the_list(total in 0..50_usize, size in 1..60_u32) {
            let pages: usize = cut(0, Some(size), total).1[2].parse().unwrap();
            let parts = (0..pages as u32).flat_map(|number| cut(number, Some(size), total).0);
            prop_assert!(parts.eq(0..total));
        }
    }
}
