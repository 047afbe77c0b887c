//! Splits Rust sources into tokens, as far as `keys::env_use` needs them: without comments and white space, and with
//! strings kept apart. Not a full lexer: numbers are words, and every punctuation mark is a token.

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An identifier, keyword or number.
    Word(String),
    /// The content of a string literal without escapes, raw or not.
    Text(String),
    /// Any other byte. A backslash means a string with an escape in it.
    Mark(u8),
}

/// Splits a source into tokens.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    // Characters that are white space to rustc (`rustc_lexer::is_whitespace`) but not ASCII.
    let spaced = source.replace(['\u{85}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'], " ");
    let source = spaced.as_str();
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match rest {
            [b'/', b'/', ..] => at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => at += block_comment(rest),
            [b'"', ..] => at += string(source, at, &mut tokens),
            [b'r' | b'b' | b'c', ..] if prefixed_string(rest).is_some() => {
                let (skip, hashes) = prefixed_string(rest).unwrap_or((1, None));
                at += match hashes {
                    Some(hashes) => skip + raw_string(source, at + skip, hashes, &mut tokens),
                    None => skip + string(source, at + skip, &mut tokens),
                };
            }
            [b'\'', ..] => at += quote(rest),
            [byte, ..] if is_word(*byte) => {
                let end = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
                tokens.push(Token::Word(String::from_utf8_lossy(&rest[..end]).into_owned()));
                at += end;
            }
            [byte, ..] => {
                if !byte.is_ascii_whitespace() {
                    tokens.push(Token::Mark(*byte));
                }
                at += 1;
            }
            [] => break,
        }
    }
    tokens
}

/// Removes the modules with unit tests (`#[cfg(test)] mod tests { ... }`), which a library that others use does not
/// contain. Those in the text of a macro stay, because other crates may expand them.
pub(super) fn without_test_modules(tokens: Vec<Token>) -> Vec<Token> {
    let is = |at: usize, expected: &str| match tokens.get(at) {
        Some(Token::Word(word)) => word == expected,
        Some(Token::Mark(mark)) => [*mark] == expected.as_bytes(),
        _ => false,
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
        let is_attribute = attribute.iter().enumerate().all(|(offset, expected)| is(at + offset, expected));
        let module = at + attribute.len();
        if is(at, "macro_rules") && is(at + 1, "!") && is(at + 3, "{") {
            at = end_of_block(&tokens, at + 3);
        } else if is_attribute && is(module, "mod") && is(module + 2, "{") {
            let end = end_of_block(&tokens, module + 2);
            ranges.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    let is_kept = |at: &usize| !ranges.iter().any(|range| range.contains(at));
    tokens.into_iter().enumerate().filter(|(at, _)| is_kept(at)).map(|(_, token)| token).collect()
}

/// Returns the position after the block that opens at `open`.
fn end_of_block(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Mark(b'{') => depth += 1,
            Token::Mark(b'}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Returns the length of a block comment. Block comments nest.
fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the number of bytes before the quote of `r"`, `b"`, `c"`, `br#"` and the like, and the number of hashes if
/// the string is raw.
fn prefixed_string(bytes: &[u8]) -> Option<(usize, Option<usize>)> {
    let letters = bytes.iter().take(2).take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
    let is_raw = bytes[..letters].contains(&b'r');
    let hashes = bytes[letters..].iter().take_while(|byte| **byte == b'#').count();
    let quoted = bytes.get(letters + hashes) == Some(&b'"');
    match (quoted, is_raw) {
        (true, true) => Some((letters + hashes, Some(hashes))),
        (true, false) if hashes == 0 => Some((letters, None)),
        _ => None,
    }
}

/// Reads a string from its opening quote, and returns its length.
fn string(source: &str, at: usize, tokens: &mut Vec<Token>) -> usize {
    let bytes = &source.as_bytes()[at..];
    let mut end = 1;
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    let end = end.min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[1..end]).into_owned();
    // With an escape in it, the value is not the spelling, so use a mark instead of a text that could be a name.
    tokens.push(if text.contains('\\') { Token::Mark(b'\\') } else { Token::Text(text) });
    end + 1
}

/// Reads a raw string from its opening quote, and returns its length.
fn raw_string(source: &str, at: usize, hashes: usize, tokens: &mut Vec<Token>) -> usize {
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = &source[at + 1..];
    let end = body.find(&closing).unwrap_or(body.len());
    tokens.push(Token::Text(body[..end].to_owned()));
    1 + end + closing.len()
}

/// Returns the length of a character literal, or of the quote of a lifetime.
fn quote(bytes: &[u8]) -> usize {
    match bytes {
        [_, b'\\', _, rest @ ..] => 3 + rest.iter().position(|byte| *byte == b'\'').map_or(0, |end| end + 1),
        [_, first, rest @ ..] => {
            // A character literal is one character, of one to four bytes, and a quote. Otherwise it is a lifetime.
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            if rest.get(width - 1) == Some(&b'\'') { width + 2 } else { 1 }
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        let tokens = tokens(source).into_iter();
        tokens.filter_map(|token| if let Token::Text(text) = token { Some(text) } else { None }).collect()
    }

    #[test]
    fn strings_of_every_kind_are_kept_apart() {
        assert_eq!(
            texts(r###"a("x", r"y\", r#"z"q"#, b"w", br##"v"# "##, c"u")"###),
            ["x", "y\\", "z\"q", "w", "v\"# ", "u"]
        );
        assert_eq!(texts(r#""with \" escape" "then""#), ["then"]);
    }

    #[test]
    fn test_modules_are_removed() {
        let kept = |source: &str| without_test_modules(tokens(source));
        let source = "a! { } #[cfg(test)] mod tests { use b; fn c() { } } mod d { }";
        assert_eq!(kept(source), tokens("a! { } mod d { }"));
        for whole in ["#[cfg(not(test))] mod tests { }", "#[cfg(test)] use a;", "mod tests { }", "#[cfg(test)] mod a;"]
        {
            assert_eq!(kept(whole), tokens(whole));
        }
        let in_macro = "macro_rules! m { () => { #[cfg(test)] mod tests { } } } #[cfg(test)] mod tests { }";
        assert_eq!(kept(in_macro), tokens("macro_rules! m { () => { #[cfg(test)] mod tests { } } }"));
        assert_eq!(kept("x #[cfg(test)] mod open { {"), tokens("x"));
    }

    #[test]
    fn quotes_lifetimes_and_comments_do_not_confuse() {
        let source = "fn a<'a>(x: &'a str) -> char { '\"' } const B: u8 = b'\\''; const C: char = 'é'; /* \" /* \" */ */ // \"\n\"end\"";
        assert_eq!(texts(source), ["end"]);
    }
}
