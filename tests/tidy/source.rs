//! Rust source as the rules see it: words and signs with their lines, no comments, no text in
//! quotes.
//!
//! It is no parser. It knows just enough of the language not to take a comment, a string or a
//! lifetime for code, and where a `#[cfg(test)]` module ends.

use std::iter;

/// A source file, split into tokens once.
pub(crate) struct SourceFile {
    /// Relative to the repository, with forward slashes.
    pub(crate) path: String,
    /// The text without comments; of a literal only quotes are left, as many as it had characters.
    pub(crate) code: String,
    pub(crate) tokens: Vec<Token>,
}

/// A word, `::`, or a single sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl SourceFile {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = code_of(text);
        let tokens = tokens_of(&code);
        Self { path: path.to_owned(), code, tokens }
    }

    /// The module right below the crate's root to which the file belongs: its first folder, or its
    /// own name.
    pub(crate) fn module(&self) -> &str {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = path.split('/').next().unwrap_or(path);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The lines of each `#[cfg(test)] mod name { ... }`, first and last.
    pub(crate) fn test_modules(&self) -> Vec<(usize, usize)> {
        let starts = (0..self.tokens.len()).filter(|start| {
            let words = self.texts_from(*start).take(9);
            let expected = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
            words.take(8).eq(expected) && self.texts_from(start + 9).next() == Some("{")
        });
        starts.filter_map(|start| self.lines_of_block(start)).collect()
    }

    /// The words from the token `start` on.
    pub(crate) fn texts_from(&self, start: usize) -> impl Iterator<Item = &str> {
        self.tokens.iter().skip(start).map(|token| token.text.as_str())
    }

    /// The lines from the token `start` to the end of the first block after it.
    fn lines_of_block(&self, start: usize) -> Option<(usize, usize)> {
        let first = self.tokens.get(start)?.line;
        let mut open = 0_usize;
        for token in self.tokens.iter().skip(start) {
            match token.text.as_str() {
                "{" => open += 1,
                "}" => {
                    open = open.checked_sub(1)?;
                    if open == 0 {
                        return Some((first, token.line));
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// What begins at a place in the text, and how many characters it takes.
enum Piece {
    Comment(usize),
    Literal(usize),
    Code(usize),
}

/// Blanks comments and fills literals with quotes, line by line, so that lines keep their numbers.
fn code_of(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut rest = characters.as_slice();
    let mut in_word = false;
    while let Some(first) = rest.first() {
        let (length, filler) = match piece_at(rest, in_word) {
            Piece::Comment(length) => (length, Some(' ')),
            Piece::Literal(length) => (length, Some('"')),
            Piece::Code(length) => (length, None),
        };
        in_word = filler.is_none() && is_word(*first);
        let (piece, after) = rest.split_at(length.clamp(1, rest.len()));
        code.extend(piece.iter().map(|character| match filler {
            Some(filler) if *character != '\n' => filler,
            _ => *character,
        }));
        rest = after;
    }
    code
}

fn piece_at(rest: &[char], in_word: bool) -> Piece {
    match rest {
        ['/', '/', ..] => Piece::Comment(rest.iter().take_while(|it| **it != '\n').count()),
        ['/', '*', ..] => Piece::Comment(block_comment_length(rest)),
        ['"', ..] => Piece::Literal(1 + quoted_length(rest.iter().skip(1), '"')),
        // A lifetime has no closing quote; a character has one right after it.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => {
            Piece::Literal(1 + quoted_length(rest.iter().skip(1), '\''))
        }
        ['r', ..] | ['b' | 'c', 'r', ..] if !in_word => {
            raw_string_length(rest).map_or(Piece::Code(1), Piece::Literal)
        }
        _ => Piece::Code(1),
    }
}

/// Block comments nest.
fn block_comment_length(rest: &[char]) -> usize {
    let mut open = 0_usize;
    let mut position = 0;
    loop {
        match rest.get(position..) {
            Some(['/', '*', ..]) => {
                open += 1;
                position += 2;
            }
            Some(['*', '/', ..]) => {
                open -= 1;
                position += 2;
                if open == 0 {
                    return position;
                }
            }
            Some([_, ..]) => position += 1,
            Some([]) | None => return position,
        }
    }
}

/// The length up to and with the closing quote, where a backslash takes the next character along.
fn quoted_length<'a>(mut rest: impl Iterator<Item = &'a char>, quote: char) -> usize {
    let mut length = 0;
    while let Some(character) = rest.next() {
        length += 1;
        if *character == quote {
            break;
        }
        if *character == '\\' && rest.next().is_some() {
            length += 1;
        }
    }
    length
}

/// The length of `r"..."` or `r##"..."##` with or without a prefix; `None` for an `r` that begins
/// a word.
fn raw_string_length(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().position(|it| *it == 'r')? + 1;
    let hashes = rest.iter().skip(prefix).take_while(|it| **it == '#').count();
    if rest.get(prefix + hashes) != Some(&'"') {
        return None;
    }
    let begin = prefix + hashes + 1;
    let end: Vec<char> = iter::once('"').chain(iter::repeat_n('#', hashes)).collect();
    let body = rest.get(begin..)?;
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    Some(begin + length + end.len())
}

fn tokens_of(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|character| !is_word(character)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, after) = rest.split_at(length);
            if !first.is_whitespace() && first != '"' {
                tokens.push(Token { text: text.to_owned(), line: index + 1 });
            }
            rest = after;
        }
    }
    tokens
}

/// Whether a word can hold this character.
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::SourceFile;

    fn words(text: &str) -> Vec<String> {
        let source = SourceFile::new("src/sample.rs", text);
        source.tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = concat!(
            "a // b\n/* c /* d */ e */ f \"g \\\" h\" i r#\"j \" k\"# l b\"m\" ",
            "br\"n\" 'o' '\\'' p<'q> r s",
        );
        let expected = ["a", "f", "i", "l", "b", "p", "<", "'", "q", ">", "r", "s"];
        assert_eq!(words(text), expected);
    }

    #[test]
    fn a_raw_identifier_is_code() {
        assert_eq!(words("r#type::for r"), ["r", "#", "type", "::", "for", "r"]);
    }

    #[test]
    fn an_open_comment_or_literal_ends_with_the_file() {
        assert_eq!(words("a /* b"), ["a"]);
        assert_eq!(words("a \"b \\"), ["a"]);
        assert_eq!(words("a r#\"b\""), ["a"]);
    }

    #[test]
    fn lines_keep_their_numbers_across_long_literals() {
        let source = SourceFile::new("src/sample.rs", "\"a\nb\"\n/* c\n*/ d");
        assert_eq!(source.tokens.first().map(|token| token.line), Some(4));
    }

    #[test]
    fn a_file_belongs_to_its_first_folder() {
        let cases = [
            ("src/api.rs", "api", 1),
            ("src/api/error.rs", "api", 2),
            ("src/types/record/peer.rs", "types", 3),
            ("src/types/mod.rs", "types", 1),
            ("src/lib.rs", "lib", 0),
        ];
        for (path, module, depth) in cases {
            let source = SourceFile::new(path, "");
            assert_eq!(
                (source.module(), crate::modules::depth(&source)),
                (module, depth),
                "{path}"
            );
        }
    }

    #[test]
    fn test_modules_are_found_with_all_their_lines() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {\n }\n}\nfn c() {}\n";
        assert_eq!(SourceFile::new("src/a.rs", text).test_modules(), [(2, 6)]);
        let elsewhere = "#[cfg(test)]\nmod tests;\nfn c() {\n}\n";
        assert_eq!(SourceFile::new("src/a.rs", elsewhere).test_modules(), []);
    }
}
