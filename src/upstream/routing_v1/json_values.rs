//! Finds the end of each JSON object or list in a text of many, by structure alone.
//!
//! Pure, a byte at a time: a stack of 128 brackets, and the state. The parser of the value checks
//! names, numbers and escapes.

/// The nesting limit of the parser behind.
const DEPTH_MAX: u32 = 128;

/// What a byte does to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanStep {
    /// The value goes on.
    More,
    /// A name of the outermost object has ended before this byte.
    OuterName,
    /// The value has ended with this byte.
    End,
    /// The byte cannot stand here.
    Broken,
}

/// A value that has begun. It begins with a bracket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ValueScanner {
    /// One bit a bracket that is open: whether it is an object's. The innermost is the lowest.
    objects: u128,
    depth: u32,
    next: Expecting,
    lexeme: Lexeme,
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expecting {
    #[default]
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
}

/// What a byte is within.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lexeme {
    #[default]
    None,
    /// A number or a word.
    Scalar,
    Text {
        is_name: bool,
    },
    /// Right behind a backslash.
    Escape {
        is_name: bool,
    },
}

impl ValueScanner {
    /// Takes the next byte.
    pub(super) fn step(&mut self, byte: u8) -> ScanStep {
        match (self.lexeme, byte) {
            (Lexeme::Text { .. } | Lexeme::Escape { .. }, 0..=0x1f) => ScanStep::Broken,
            (Lexeme::Escape { is_name }, _) => self.within(Lexeme::Text { is_name }),
            (Lexeme::Text { is_name }, b'\\') => self.within(Lexeme::Escape { is_name }),
            (Lexeme::Text { is_name }, b'"') => {
                self.lexeme = Lexeme::None;
                self.next = if is_name { Expecting::Colon } else { Expecting::CommaOrEnd };
                ScanStep::More
            }
            (Lexeme::Text { .. }, _) => ScanStep::More,
            (Lexeme::Scalar, byte) if is_scalar(byte) => ScanStep::More,
            (Lexeme::Scalar, _) => {
                self.lexeme = Lexeme::None;
                self.next = Expecting::CommaOrEnd;
                self.between(byte)
            }
            (Lexeme::None, _) => self.between(byte),
        }
    }

    fn within(&mut self, lexeme: Lexeme) -> ScanStep {
        self.lexeme = lexeme;
        ScanStep::More
    }

    /// A byte that is in no text, number or word.
    fn between(&mut self, byte: u8) -> ScanStep {
        match (self.next, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => ScanStep::More,
            (Expecting::Value | Expecting::ValueOrEnd, b'{') => self.open(Expecting::NameOrEnd),
            (Expecting::Value | Expecting::ValueOrEnd, b'[') => self.open(Expecting::ValueOrEnd),
            (Expecting::Value | Expecting::ValueOrEnd, b'"') => {
                self.within(Lexeme::Text { is_name: false })
            }
            (Expecting::Name | Expecting::NameOrEnd, b'"') => {
                self.within(Lexeme::Text { is_name: true })
            }
            (Expecting::Value | Expecting::ValueOrEnd, byte)
                if is_scalar(byte) && self.depth > 0 =>
            {
                self.within(Lexeme::Scalar)
            }
            (Expecting::Colon, b':') => {
                self.next = Expecting::Value;
                if self.depth == 1 { ScanStep::OuterName } else { ScanStep::More }
            }
            (Expecting::CommaOrEnd, b',') => {
                self.next = if self.is_in_object() { Expecting::Name } else { Expecting::Value };
                ScanStep::More
            }
            (Expecting::NameOrEnd | Expecting::CommaOrEnd, b'}') if self.is_in_object() => {
                self.close()
            }
            (Expecting::ValueOrEnd | Expecting::CommaOrEnd, b']') if !self.is_in_object() => {
                self.close()
            }
            _ => ScanStep::Broken,
        }
    }

    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Opens an object or a list, by what may come next in it.
    fn open(&mut self, next: Expecting) -> ScanStep {
        if self.depth == DEPTH_MAX {
            return ScanStep::Broken;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(next == Expecting::NameOrEnd);
        self.next = next;
        ScanStep::More
    }

    fn close(&mut self) -> ScanStep {
        debug_assert!(self.depth > 0, "a bracket that closes has one that opened");
        self.depth -= 1;
        self.objects >>= 1;
        self.next = Expecting::CommaOrEnd;
        if self.depth == 0 { ScanStep::End } else { ScanStep::More }
    }
}

fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Where the value that `text` begins with ends, or breaks.
    fn end(text: &str) -> Option<(usize, ScanStep)> {
        let mut scanner = ValueScanner::default();
        let mut steps = text.bytes().map(|byte| scanner.step(byte)).enumerate();
        steps.find(|(_, step)| matches!(step, ScanStep::End | ScanStep::Broken))
    }

    #[test]
    fn a_value_ends_with_its_last_bracket() {
        for text in [
            "{}",
            "[ ]",
            r#"{"a":{"b":[1,-2.5e+3,true,null,"}]\"{\\"]},"c":[[],{}]}"#,
            "{\n \"a\" :\t[ {\r\n } ]\n}",
        ] {
            let followed = format!("{text}{{");
            assert_eq!(end(&followed), Some((text.len() - 1, ScanStep::End)), "{text}");
            assert_eq!(end(&text[..text.len() - 1]), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_stand_where_it_stands_breaks_the_value() {
        for (text, at) in [
            ("x", 0),
            ("\u{0}", 0),
            ("{1}", 1),
            ("{\"a\" 1}", 5),
            ("{\"a\":1\n{", 7),
            ("{\"a\":1 2", 7),
            ("[1,]", 3),
            ("[1}", 2),
            ("{\"a\":1]", 6),
            ("{\"a\n", 3),
            ("{\"a\\\n", 4),
            ("{\"a\":}", 5),
            ("{,", 1),
        ] {
            assert_eq!(end(text), Some((at, ScanStep::Broken)), "{text}");
        }
        let deep = "[".repeat(129);
        assert_eq!(end(&deep), Some((128, ScanStep::Broken)));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_json_ends_where_it_ends(value in value(), is_pretty in any::<bool>()) {
            let value = Value::Array(vec![value]);
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert_eq!(end(&text), Some((text.len() - 1, ScanStep::End)));
        }
    }
}
