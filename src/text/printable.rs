//! Making untrusted text safe to print.
//!
//! A terminal obeys escape sequences, and a reader is fooled by invisible and direction-changing
//! characters. What a router sent never carries either into our output.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character does something to a terminal or a reader other than being seen.
fn is_unsafe(character: char) -> bool {
    let is_invisible = matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    character.is_control() || is_invisible
}

/// The text with U+FFFD in place of every unsafe character, line breaks and tabs included.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    replaced(text, is_unsafe)
}

/// As [`printable`], and without white space: one word, so that columns cannot be forged. An empty
/// text becomes `-`.
pub(crate) fn printable_word(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("-");
    }
    replaced(text, |character| is_unsafe(character) || character.is_whitespace())
}

/// JSON with the same value, on one line, without unsafe characters: those within strings are
/// written as `\u` escapes, line breaks and tabs between tokens left out. (Neither can stand
/// elsewhere in valid JSON.)
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | '\r' | '\t' => {}
            character if is_unsafe(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(line, "\\u{unit:04x}").expect("a String takes whatever is written");
                }
            }
            character => line.push(character),
        }
    }
    Cow::Owned(line)
}

fn replaced(text: &str, is_refused: impl Fn(char) -> bool + Copy) -> Cow<'_, str> {
    if text.contains(is_refused) {
        Cow::Owned(text.replace(is_refused, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NASTY: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{200b}\u{7f}\u{e0041}";

    #[test]
    fn escape_sequences_and_invisible_characters_are_replaced() {
        assert_eq!(
            printable(NASTY),
            "\u{fffd}]0;owned\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(
            printable("/dns4/b\u{fc}cher.example/tcp/1 x"),
            "/dns4/b\u{fc}cher.example/tcp/1 x"
        );
    }

    #[test]
    fn a_word_has_no_white_space_and_is_never_empty() {
        assert_eq!(printable_word("a\tb c\u{3000}d\n"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}");
        assert_eq!(printable_word(""), "-");
    }

    #[test]
    fn json_is_put_on_one_line_and_escaped() {
        let json = "{\n\t\"a\": \"\u{9b}31m\u{e0041}\"\r\n}";
        assert_eq!(printable_json(json), r#"{"a": "\u009b31m\udb40\udc41"}"#);
    }

    proptest! {
        #[test]
        fn json_keeps_its_value(texts in proptest::collection::vec(any::<String>(), 0..4)) {
            let texts: Vec<String> = texts.into_iter().map(|text| text + NASTY).collect();
            let json = serde_json::to_string_pretty(&texts).unwrap();
            let line = printable_json(&json);
            prop_assert!(!line.contains(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&line).unwrap(), texts);
        }
    }
}
