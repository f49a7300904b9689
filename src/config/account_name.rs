//! A setting that names an account, or, when it is empty, leaves the choice to Fingerpost.

use std::fmt;
use std::str::FromStr;

use crate::types::{AccountId, AccountIdError};

/// The name of an account, or none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountName(Option<AccountId>);

impl AccountName {
    /// The account; `None` where none is named.
    pub(crate) fn get(&self) -> Option<&AccountId> {
        self.0.as_ref()
    }
}

impl From<AccountId> for AccountName {
    fn from(account: AccountId) -> Self {
        Self(Some(account))
    }
}

impl FromStr for AccountName {
    type Err = AccountIdError;

    fn from_str(text: &str) -> Result<Self, AccountIdError> {
        if text.is_empty() { Ok(Self(None)) } else { AccountId::parse(text).map(Self::from) }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |account| account.fmt(formatter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_names_nobody_and_others_are_accounts() {
        assert_eq!("".parse(), Ok(AccountName::default()));
        let east: AccountName = "E.ast".parse().unwrap();
        assert_eq!((east.to_string().as_str(), east.get().is_some()), ("east", true));
        assert!("a b".parse::<AccountName>().is_err());
    }
}
