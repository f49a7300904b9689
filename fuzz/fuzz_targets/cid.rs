//! Any text as a CID, a multihash or a peer ID: no panic, and what is read prints as itself.
#![no_main]

use fingerpost::types::{ContentKey, PeerId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for key in [ContentKey::from_cid_text(text), ContentKey::from_multihash_text(text)] {
        let Ok(key) = key else { continue };
        assert_eq!(ContentKey::from_cid_text(&key.to_cid_text()).ok().as_ref(), Some(&key));
        assert_eq!(ContentKey::from_multihash(key.as_bytes()).ok().as_ref(), Some(&key));
    }
    if let Ok(peer) = PeerId::parse(text) {
        assert_eq!(PeerId::parse(peer.as_str()), Ok(peer));
    }
});
