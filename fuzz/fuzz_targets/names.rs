//! Any text as an IPNS name and as a peer ID: no panic; what is read prints as a text that reads as
//! the same; and a CID of codec libp2p-key is either both or neither.
#![no_main]

use fingerpost::types::{IpnsName, PeerId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let peer = PeerId::parse(text);
    if let Ok(peer) = &peer {
        assert_eq!(PeerId::parse(peer.as_str()).as_ref(), Ok(peer));
    }
    let Ok(name) = IpnsName::parse(text) else { return };
    let printed = name.to_string();
    assert!(printed.starts_with('k'));
    assert_eq!(IpnsName::parse(&printed).as_ref(), Ok(&name));
    assert_eq!(IpnsName::from_multihash(name.as_bytes()).as_ref(), Ok(&name));
    // A text that also reads as bare base58 of something else is no peer ID of this name.
    if !text.starts_with('1') && !text.starts_with("Qm") {
        assert!(peer.is_ok());
    }
});
