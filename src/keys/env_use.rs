//! Is a path variable used only to include files?
//!
//! `include!(concat!(env!("OUT_DIR"), "/x.rs"))` reads a file whose content is an input anyway, so the variable's value may
//! differ between checkouts. Any other `env!` of a path may end up in the output in a shape that no scan can find (its
//! length, its hash), so it pins. The judge is lexical and strict: what it does not recognise is not an include.

/// Whether every `env!("name")` and `option_env!("name")` in `sources` stands directly inside an include, at least one is
/// there, and no `env!` has an argument that cannot be read.
pub fn is_include_only<'a>(name: &str, sources: impl IntoIterator<Item = &'a str>) -> bool {
    let mut includes = 0;
    for source in sources {
        let tokens = tokens(source);
        for at in 0..tokens.len() {
            if !is_macro_call(&tokens, at, &["env", "option_env"]) {
                continue;
            }
            match &tokens[at + 3..] {
                [Token::Text(text), Token::Mark(b')' | b']' | b'}' | b','), ..] if text != name => {}
                [Token::Text(_), Token::Mark(b')' | b']' | b'}'), ..] if is_inside_include(&tokens[..at]) => includes += 1,
                _ => return false,
            }
        }
    }
    includes > 0
}

/// `name ! (`
fn is_macro_call(tokens: &[Token], at: usize, names: &[&str]) -> bool {
    matches!(&tokens[at..], [Token::Word(word), Token::Mark(b'!'), Token::Mark(b'(' | b'[' | b'{'), ..]
        if names.contains(&word.as_str()))
}

/// Whether the tokens end in `include ! (` or `include ! ( concat ! (`.
fn is_inside_include(before: &[Token]) -> bool {
    let ends_in = |from_end: usize, names: &[&str]| {
        before.len().checked_sub(from_end).is_some_and(|at| is_macro_call(before, at, names))
    };
    let includes = ["include", "include_str", "include_bytes"];
    ends_in(3, &includes) || (ends_in(3, &["concat"]) && ends_in(6, &includes))
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// The content of a plain string literal; a raw one counts the same.
    Text(String),
    Mark(u8),
}

/// Rust's tokens as far as this module needs them: comments and white space gone, strings kept apart.
fn tokens(source: &str) -> Vec<Token> {
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

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of a block comment; they nest.
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

/// How many bytes stand before the quote of `r"`, `b"`, `c"`, `br#"` and the like, and the number of hashes if it is raw.
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

/// Reads a string from its opening quote. A string with escapes is nobody's variable name, and is kept as it is spelled.
fn string(source: &str, at: usize, tokens: &mut Vec<Token>) -> usize {
    let bytes = &source.as_bytes()[at..];
    let mut end = 1;
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    let end = end.min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[1..end]).into_owned();
    // With an escape in it the value is not the spelling: give it a name that no variable has.
    tokens.push(if text.contains('\\') { Token::Mark(b'\\') } else { Token::Text(text) });
    end + 1
}

/// Reads a raw string from its opening quote.
fn raw_string(source: &str, at: usize, hashes: usize, tokens: &mut Vec<Token>) -> usize {
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = &source[at + 1..];
    let end = body.find(&closing).unwrap_or(body.len());
    tokens.push(Token::Text(body[..end].to_owned()));
    1 + end + closing.len()
}

/// The length of a character literal, or of the quote of a lifetime.
fn quote(bytes: &[u8]) -> usize {
    match bytes {
        [_, b'\\', _, rest @ ..] => 3 + rest.iter().position(|byte| *byte == b'\'').map_or(0, |end| end + 1),
        [_, first, rest @ ..] => {
            // One character, of one to four bytes, then a quote; else it is a lifetime.
            let width = match first { 0xf0.. => 4, 0xe0.. => 3, 0xc0.. => 2, _ => 1 };
            if rest.get(width - 1) == Some(&b'\'') { width + 2 } else { 1 }
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(source: &str) -> bool {
        is_include_only("OUT_DIR", [source])
    }

    #[test]
    fn includes_are_recognised() {
        assert!(only(r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#));
        assert!(only("const X: &str = include_str!( concat! ( env!(\"OUT_DIR\") , \"/x\" ) );"));
        assert!(only(r##"include_bytes!{concat![env!(r#"OUT_DIR"#), "/x"]}"##));
        assert!(only("/* env!(\"OUT_DIR\") */ // env!(\"OUT_DIR\")\ninclude!(concat!(env!(\"OUT_DIR\"), \"/x\"));"));
        assert!(only(r#"include!(env!("OUT_DIR"));"#));
        assert!(only(r#"const V: &str = env!("V"); include!(concat!(env!("OUT_DIR"), "/x.rs"));"#));
    }

    #[test]
    fn u09_values_are_not_includes() {
        assert!(!only(r#"const D: &str = env!("OUT_DIR");"#));
        assert!(!only(r#"const L: usize = env!("OUT_DIR").len();"#));
        assert!(!only(r#"const D: &str = concat!(env!("OUT_DIR"), "/x");"#));
        assert!(!only(r#"const D: Option<&str> = option_env!("OUT_DIR");"#));
        assert!(!only("const D: &str = env!(\"OUT_DIR\", \"not set\");"));
        assert!(!only("no use at all"));
    }

    #[test]
    fn u10_one_other_use_is_enough() {
        let include = r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#;
        assert!(!is_include_only("OUT_DIR", [include, r#"fn d() -> &'static str { env!("OUT_DIR") }"#]));
        assert!(!only(&format!("{include} macro_rules! v {{ ($n:literal) => {{ env!($n) }} }}")));
        assert!(!only(&format!("{include} const D: &str = env!(\"OUT\\x5fDIR\");")));
    }

    #[test]
    fn quotes_and_lifetimes_do_not_confuse() {
        let source = r#"fn a<'a>(x: &'a str) -> char { '"' } const B: u8 = b'\''; const C: char = 'é'; const D: &str = env!("OUT_DIR");"#;
        assert!(!only(source));
        assert!(only(&source.replace(r#"env!("OUT_DIR")"#, r#"include_str!(concat!(env!("OUT_DIR"), "/'"))"#)));
        assert!(!only(r##"include!(concat!(env!("OUT_DIR"), "/x.rs")); const S: &str = r#"""#; const D: &str = env!("OUT_DIR");"##));
    }
}
