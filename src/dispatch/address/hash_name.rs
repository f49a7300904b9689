//! The names of hash functions in addresses: those of multicodec.
//!
//! A code that is not in this table is written as `0x` and hex digits, so every multihash has an
//! address. Names are only ever added to the table, because an address that an operator wrote must
//! keep its meaning. Source: the table of the multicodec registry, tag `multihash`.

use std::fmt::Write as _;

use arrayvec::ArrayString;

/// `0x` and sixteen digits; every name that is put together is shorter.
const COMPUTED_CHARS_MAX: usize = 18;

/// The name of a hash function.
#[derive(Clone, Debug)]
pub(super) enum HashName {
    Known(&'static str),
    Computed(ArrayString<COMPUTED_CHARS_MAX>),
}

impl HashName {
    /// The name of the hash function with this code.
    pub(super) fn of(code: u64) -> Self {
        match known(code) {
            Some(name) => Self::Known(name),
            None => Self::Computed(computed(code)),
        }
    }

    /// The code of the hash function with this name; `None`: no address has such a name.
    pub(super) fn code_of(name: &str) -> Option<u64> {
        let unnamed = name.strip_prefix("0x").and_then(|it| u64::from_str_radix(it, 16).ok());
        let of_family = || {
            let (family, bits) = name.rsplit_once('-')?;
            let (_, first, _) = FAMILIES.iter().find(|(known, _, _)| *known == family)?;
            Some(first + (bits.parse::<u64>().ok()? / 8).checked_sub(1)?)
        };
        let of_table = || (0..=LAST_KNOWN_CODE).find(|code| known(*code) == Some(name));
        let code = unnamed.or_else(of_family).or_else(of_table)?;
        (Self::of(code).as_str() == name).then_some(code)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name,
            Self::Computed(name) => name,
        }
    }
}

fn known(code: u64) -> Option<&'static str> {
    Some(match code {
        0x00 => "identity",
        0x11 => "sha1",
        0x12 => "sha2-256",
        0x13 => "sha2-512",
        0x14 => "sha3-512",
        0x15 => "sha3-384",
        0x16 => "sha3-256",
        0x17 => "sha3-224",
        0x18 => "shake-128",
        0x19 => "shake-256",
        0x1a => "keccak-224",
        0x1b => "keccak-256",
        0x1c => "keccak-384",
        0x1d => "keccak-512",
        0x1e => "blake3",
        0x20 => "sha2-384",
        0x22 => "murmur3-x64-64",
        0x23 => "murmur3-32",
        0x56 => "dbl-sha2-256",
        0xd4 => "md4",
        0xd5 => "md5",
        0x1012 => "sha2-256-trunc254-padded",
        0x1013 => "sha2-224",
        0x1014 => "sha2-512-224",
        0x1015 => "sha2-512-256",
        0x1022 => "murmur3-x64-128",
        0x1052 => "ripemd-128",
        0x1053 => "ripemd-160",
        0x1054 => "ripemd-256",
        0x1055 => "ripemd-320",
        0x1100 => "x11",
        0x1d01 => "kangarootwelve",
        0x534d => "sm3-256",
        0xb401 => "poseidon-bls12_381-a2-fc1",
        _ => return None,
    })
}

/// The largest code in the table above.
const LAST_KNOWN_CODE: u64 = 0xb401;

/// Families with one member per digest length, in steps of one byte.
const FAMILIES: &[(&str, u64, u64)] = &[
    ("blake2b", 0xb201, 0xb240),
    ("blake2s", 0xb241, 0xb260),
    ("skein256", 0xb301, 0xb320),
    ("skein512", 0xb321, 0xb360),
    ("skein1024", 0xb361, 0xb3e0),
];

fn computed(code: u64) -> ArrayString<COMPUTED_CHARS_MAX> {
    let mut name = ArrayString::new();
    let family = FAMILIES.iter().find(|(_, first, last)| (*first..=*last).contains(&code));
    let written = match family {
        Some((family, first, _)) => write!(name, "{family}-{}", (code - first + 1) * 8),
        None => write!(name, "0x{code:x}"),
    };
    written.expect("the longest name has as many characters as there is room for");
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_functions_have_their_names_in_the_registry() {
        for (code, name) in [
            (0x00, "identity"),
            (0x11, "sha1"),
            (0x12, "sha2-256"),
            (0x1e, "blake3"),
            (0x1015, "sha2-512-256"),
            (0xb201, "blake2b-8"),
            (0xb220, "blake2b-256"),
            (0xb240, "blake2b-512"),
            (0xb241, "blake2s-8"),
            (0xb260, "blake2s-256"),
            (0xb361, "skein1024-8"),
            (0xb3e0, "skein1024-1024"),
            (0xb261, "0xb261"),
            (0x10, "0x10"),
            (u64::MAX, "0xffffffffffffffff"),
        ] {
            assert_eq!(HashName::of(code).as_str(), name, "{code:x}");
        }
    }

    #[test]
    fn no_two_codes_share_a_name() {
        let names: std::collections::HashSet<String> =
            (0..0x1_0000).map(|code| HashName::of(code).as_str().to_owned()).collect();
        assert_eq!(names.len(), 0x1_0000);
    }

    #[test]
    fn a_name_leads_back_to_its_code_and_other_texts_to_none() {
        let codes = (0..0x1200).chain(0xb1f0..0xb410).chain([0x1d01, 0x534d, u64::MAX]);
        for code in codes {
            assert_eq!(HashName::code_of(HashName::of(code).as_str()), Some(code), "{code:x}");
        }
        for text in [
            "",
            "sha2",
            "SHA2-256",
            "blake2b-0",
            "blake2b-9",
            "blake2b-520",
            "0x12",
            "0xB261",
            "0x",
        ] {
            assert_eq!(HashName::code_of(text), None, "{text}");
        }
    }
}
