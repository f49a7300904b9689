//! How many routers a lookup has passed through, so that a loop between them ends.

/// The name of the header that carries the count from router to router.
pub(crate) const HOPS_HEADER: &str = "fingerpost-hops";

/// How many routers forwarded a lookup before it came here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hops(u8);

impl Hops {
    /// The most that a lookup may have; beyond it is refused.
    pub(crate) const MAX: u8 = 8;

    /// Reads the header's value: a whole number. A larger one than can be counted is past the limit.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        is_number.then(|| Self(text.parse().unwrap_or(u8::MAX)))
    }

    /// The count.
    pub(crate) fn get(self) -> u8 {
        self.0
    }

    /// The count that is sent to the next router.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether the lookup exceeds the limit.
    pub(crate) fn is_past_limit(self) -> bool {
        self.0 > Self::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_whole_number_and_never_wraps() {
        assert_eq!(Hops::parse("0"), Some(Hops::default()));
        assert_eq!(Hops::parse(" 8 ").map(Hops::is_past_limit), Some(false));
        assert_eq!(Hops::parse("9").map(Hops::is_past_limit), Some(true));
        assert_eq!(Hops::parse("99999999999").map(|hops| hops.next().get()), Some(u8::MAX));
        for text in ["", "-1", "+1", "1.0", "one", "1 2"] {
            assert_eq!(Hops::parse(text), None, "{text}");
        }
    }
}
