//! Any bytes as `If-None-Match`: no panic; a list that does not hold the tag nor a star does not name
//! it; one that ends with it does, weak or strong.
#![no_main]

use fingerpost::api::names_tag;
use libfuzzer_sys::fuzz_target;

const TAG: &[u8] = b"\"0123456789abcdef\"";

fuzz_target!(|list: &[u8]| {
    let holds = |text: &[u8]| list.windows(text.len()).any(|window| window == text);
    if names_tag(list, TAG) {
        assert!(holds(b"*") || holds(TAG));
    }
    for separator in [&b","[..], b" ,\t", b", W/"] {
        assert!(names_tag(&[list, separator, TAG].concat(), TAG));
    }
});
