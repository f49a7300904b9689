//! The record of the blocks of a CAR, from the operator's flags.
//!
//! | given | schema |
//! |---|---|
//! | `--provider`, and `--protocol transport-bitswap` alone | `bitswap` |
//! | `--provider`, and any other protocols, several, or none | `peer` |
//! | `--record FILE` | the file's own |
//!
//! The operator's flags are strict: here an address that does not parse is an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::ingest::options::{ImportKind, RECORD_BYTES_MAX_DEFAULT};
use crate::types::{
    Addr, AddrError, BitswapRecord, ExtraFields, LeftOut, PeerId, PeerIdError, PeerRecord,
    ProviderRecord, RecordError, UnparsableAddrs,
};

/// The longest `--record` file: as long as a record in NDJSON may be by default.
pub(crate) const CAR_RECORD_BYTES_MAX: usize = RECORD_BYTES_MAX_DEFAULT;

const BITSWAP: &str = "transport-bitswap";

/// The operator's flags about the provider of the blocks of CAR files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CarFlags {
    /// `--provider`: a peer ID.
    pub(crate) provider: Option<String>,
    /// `--addr`: multiaddrs.
    pub(crate) addrs: Vec<String>,
    /// `--protocol`: names of transfer protocols, taken as they are.
    pub(crate) protocols: Vec<String>,
    /// The JSON of a whole record: the content of `--record`'s file.
    pub(crate) record_json: Option<String>,
}

/// Why the flags give no record.
#[derive(Debug, Error)]
pub(crate) enum CarRecordError {
    /// A CAR is to be imported, and no flag names its provider.
    #[error(
        "{} is a CAR file and says nothing of who provides its blocks: give --provider PEERID \
         with --addr and --protocol, or --record FILE",
        .0.display()
    )]
    Missing(PathBuf),
    /// Flags that have no effect.
    #[error(
        "--provider, --addr, --protocol and --record say who provides the blocks of CAR files, \
         but none of the files to import ends in `.car`"
    )]
    NoCar,
    /// Flags that exclude each other.
    #[error("--record is a whole record: --provider, --addr and --protocol cannot stand beside it")]
    Both,
    /// Addresses or protocols without a provider.
    #[error("--addr and --protocol need --provider PEERID")]
    NoProvider,
    /// Not a peer ID.
    #[error("--provider {text:?} is not a peer ID")]
    Provider {
        /// What was given.
        text: String,
        /// Why.
        source: PeerIdError,
    },
    /// Not a multiaddr.
    #[error("--addr {text:?}")]
    Addr {
        /// What was given.
        text: String,
        /// Why.
        source: AddrError,
    },
    /// A protocol without a name.
    #[error("--protocol needs a name, `{BITSWAP}` for example")]
    Protocol,
    /// The file of `--record` cannot be read.
    #[error("cannot read --record {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of `--record` holds no record.
    #[error("--record is not a provider record")]
    Record(#[from] RecordError),
    /// The file of `--record` has addresses that not all clients read.
    #[error("--record has {0} of its `Addrs` that are no multiaddrs to all clients")]
    RecordAddrs(usize),
    /// The file of `--record` has fields that clients read in different ways.
    #[error(
        "--record has {0} fields that clients read in different ways: twice the same name, or `id` for `ID`"
    )]
    RecordFields(usize),
}

impl CarFlags {
    /// Reads the file of `--record`.
    pub(crate) fn read_record(path: &Path) -> Result<String, CarRecordError> {
        let read = || {
            let mut text = String::new();
            let most = CAR_RECORD_BYTES_MAX as u64;
            File::open(path)?.take(most + 1).read_to_string(&mut text)?;
            if text.len() > CAR_RECORD_BYTES_MAX {
                let reason = format!("longer than {CAR_RECORD_BYTES_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
            }
            Ok(text)
        };
        read().map_err(|source| CarRecordError::File { path: path.to_owned(), source })
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The record for the CAR files among `paths`; `None` if there are none, and no flags either.
pub(crate) fn car_record(
    paths: &[PathBuf],
    flags: &CarFlags,
) -> Result<Option<ProviderRecord>, CarRecordError> {
    let car = paths.iter().find(|path| ImportKind::of_path(path).0 == ImportKind::Car);
    match (car, flags.is_empty()) {
        (None, true) => Ok(None),
        (None, false) => Err(CarRecordError::NoCar),
        (Some(path), true) => Err(CarRecordError::Missing(path.clone())),
        (Some(_), false) => record(flags).map(Some),
    }
}

fn record(flags: &CarFlags) -> Result<ProviderRecord, CarRecordError> {
    let has_parts =
        flags.provider.is_some() || !flags.addrs.is_empty() || !flags.protocols.is_empty();
    match (&flags.record_json, &flags.provider) {
        (Some(_), _) if has_parts => Err(CarRecordError::Both),
        (Some(json), _) => whole_record(json),
        (None, Some(provider)) => assembled_record(provider, flags),
        (None, None) => Err(CarRecordError::NoProvider),
    }
}

fn whole_record(json: &str) -> Result<ProviderRecord, CarRecordError> {
    let parsed = ProviderRecord::parse(json, UnparsableAddrs::Drop)?;
    match parsed.left_out {
        LeftOut { addrs: 0, fields: 0 } => Ok(parsed.record),
        LeftOut { addrs: 0, fields } => Err(CarRecordError::RecordFields(fields)),
        LeftOut { addrs, .. } => Err(CarRecordError::RecordAddrs(addrs)),
    }
}

fn assembled_record(provider: &str, flags: &CarFlags) -> Result<ProviderRecord, CarRecordError> {
    let id = PeerId::parse(provider)
        .map_err(|source| CarRecordError::Provider { text: provider.to_owned(), source })?;
    let mut addrs: Vec<Addr> = Vec::new();
    for text in &flags.addrs {
        let addr = Addr::parse(text)
            .map_err(|source| CarRecordError::Addr { text: text.clone(), source })?;
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    let mut protocols: Vec<String> = Vec::new();
    for name in &flags.protocols {
        if name.trim().is_empty() {
            return Err(CarRecordError::Protocol);
        }
        if !protocols.contains(name) {
            protocols.push(name.clone());
        }
    }
    let addrs = (!addrs.is_empty()).then_some(addrs);
    let extra = ExtraFields::default();
    Ok(match &protocols[..] {
        [only] if only == BITSWAP => {
            ProviderRecord::Bitswap(BitswapRecord { protocol: protocols.pop(), id, addrs, extra })
        }
        [] => ProviderRecord::Peer(PeerRecord { id, addrs, protocols: None, extra }),
        [..] => ProviderRecord::Peer(PeerRecord { id, addrs, protocols: Some(protocols), extra }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::with_causes;

    const PEER: &str = "12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z";

    fn flags(provider: &str, addrs: &[&str], protocols: &[&str]) -> CarFlags {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CarFlags {
            provider: (!provider.is_empty()).then(|| provider.to_owned()),
            addrs: owned(addrs),
            protocols: owned(protocols),
            record_json: None,
        }
    }

    fn with_record(json: &str) -> CarFlags {
        CarFlags { record_json: Some(json.to_owned()), ..CarFlags::default() }
    }

    fn for_car(flags: &CarFlags) -> Result<Option<ProviderRecord>, CarRecordError> {
        car_record(&["a.ndjson".into(), "b.CAR.gz".into()], flags)
    }

    #[test]
    fn the_flags_become_the_record_of_the_table() {
        let addr = "/ip4/192.0.2.1/tcp/4001";
        let cases = [
            (
                flags(PEER, &[addr, addr], &["transport-bitswap", "transport-bitswap"]),
                format!(
                    r#"{{"Protocol":"transport-bitswap","Schema":"bitswap","ID":"{PEER}","Addrs":["{addr}"]}}"#
                ),
            ),
            (
                flags(PEER, &[addr], &["transport-bitswap", "transport-ipfs-gateway-http"]),
                format!(
                    r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["{addr}"],"Protocols":["transport-bitswap","transport-ipfs-gateway-http"]}}"#
                ),
            ),
            (
                flags(PEER, &[], &["mine"]),
                format!(r#"{{"Schema":"peer","ID":"{PEER}","Protocols":["mine"]}}"#),
            ),
            (flags(PEER, &[], &[]), format!(r#"{{"Schema":"peer","ID":"{PEER}"}}"#)),
            (with_record(r#"{"Schema":"mine","x":1}"#), r#"{"Schema":"mine","x":1}"#.to_owned()),
        ];
        for (flags, json) in cases {
            assert_eq!(for_car(&flags).unwrap().unwrap().to_json(), json);
        }
        assert_eq!(car_record(&["-".into()], &CarFlags::default()).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_with_the_flags_is_said() {
        let both = CarFlags { provider: Some(PEER.to_owned()), ..with_record("{}") };
        let bad_addrs = format!(r#"{{"Schema":"peer","ID":"{PEER}","Addrs":["/ip4/x"]}}"#);
        let cases = [
            (CarFlags::default(), "b.CAR.gz is a CAR file and says nothing of who provides"),
            (both, "--record is a whole record"),
            (flags("", &["/ip4/192.0.2.1"], &[]), "--addr and --protocol need --provider"),
            (flags("12D3", &[], &[]), "--provider \"12D3\" is not a peer ID: "),
            (flags(PEER, &["/ip4/x"], &[]), "--addr \"/ip4/x\": not a multiaddr: "),
            (flags(PEER, &[], &[" "]), "--protocol needs a name"),
            (with_record("[]"), "--record is not a provider record: not a JSON object: "),
            (with_record(&bad_addrs), "--record has 1 of its `Addrs`"),
            (with_record(r#"{"Schema":"x","schema":"y"}"#), "--record has 1 fields that clients"),
        ];
        for (flags, message) in cases {
            let text = with_causes(&for_car(&flags).unwrap_err());
            assert!(text.starts_with(message), "{text}");
        }
        let unused = car_record(&["a.ndjson".into()], &flags(PEER, &[], &[])).unwrap_err();
        assert!(matches!(unused, CarRecordError::NoCar));
    }

    #[test]
    fn a_record_file_is_read_unless_it_is_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(CarFlags::read_record(&path).unwrap(), "{}");
        std::fs::write(&path, " ".repeat(CAR_RECORD_BYTES_MAX + 1)).unwrap();
        let text = with_causes(&CarFlags::read_record(&path).unwrap_err());
        assert!(text.ends_with(": longer than 65536 bytes"), "{text}");
    }
}
