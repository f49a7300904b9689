//! Bytes in hexadecimal, written several times faster than by `write!`.

/// The two lower-case digits of each byte.
pub(crate) fn hex<const BYTES: usize>(bytes: [u8; BYTES]) -> [[u8; 2]; BYTES] {
    bytes.map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_the_digits_that_fmt_writes() {
        for byte in 0..=u8::MAX {
            assert_eq!(hex([byte]).as_flattened(), format!("{byte:02x}").as_bytes());
        }
    }
}
