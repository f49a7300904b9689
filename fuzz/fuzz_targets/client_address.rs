//! Any bytes as `X-Forwarded-For` and `Forwarded`: no panic; a peer that is not trusted is the client
//! whatever the headers say; a certain client is no trusted proxy; and what a client writes to the left
//! of what a trusted proxy appends changes nothing.
#![no_main]

use std::net::IpAddr;

use fingerpost::api::counted_client;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|headers: (&[u8], &[u8])| {
    let (list, pairs) = headers;
    let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let stranger: IpAddr = [192, 0, 2, 1].into();
    assert_eq!(counted_client(stranger, list, pairs, &trusted), (stranger, true));

    let proxy: IpAddr = [10, 0, 0, 1].into();
    let (client, is_certain) = counted_client(proxy, list, pairs, &trusted);
    let is_proxy = trusted.iter().any(|network| network.contains(&client));
    assert_eq!(is_certain, !is_proxy);
    assert_eq!(client, client.to_canonical());

    let appended = [list, b", 192.0.2.1"].concat();
    assert_eq!(counted_client(proxy, &appended, b"", &trusted), (stranger, true));
    // An open quote on the left would swallow the comma; a proxy appends a line of its own then.
    if !pairs.contains(&b'"') {
        let appended = [pairs, b", for=192.0.2.1"].concat();
        assert_eq!(counted_client(proxy, b"", &appended, &trusted), (stranger, true));
    }
});
