//! Finds the places of roots in the forms in which texts escape them: `%20`, `\ `, `\u{e9}`, `'\''`.
//!
//! There are too many ways of escaping to list them. So kache looks for the parts of a place that are never escaped, in
//! their order, with any short text between them.

use memchr::memmem;

use super::Roots;
use crate::fsx;
use crate::model::RootKind;

/// The most bytes that one escaped byte takes (`\u{10ffff}`, a quoted quote, a backslash that was escaped twice).
const MAX_ESCAPE_BYTES: usize = 12;

/// Looks for escaped places of roots. Empty if no place contains a character that is ever escaped.
#[derive(Debug)]
pub struct EscapedRoots {
    places: Vec<(RootKind, EscapablePlace)>,
}

/// A place that contains characters that texts escape.
#[derive(Debug)]
struct EscapablePlace {
    whole: String,
    /// The parts that are never escaped, each with the most bytes that may come before it (0 for the first).
    parts: Vec<(usize, String)>,
}

impl EscapedRoots {
    /// Creates a search for `roots`, by their names and by their paths without links.
    pub fn new(roots: &Roots) -> Self {
        let real = |place: &str| fsx::canonicalize(place.as_ref()).ok()?.into_os_string().into_string().ok();
        let both = |(kind, place): (RootKind, &str)| [Some(place.to_owned()), real(place)].map(|place| (kind, place));
        let all = roots.iter().flat_map(both).filter_map(|(kind, place)| Some((kind, EscapablePlace::new(place?)?)));
        Self { places: all.collect() }
    }

    /// Whether the search cannot find anything.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the roots whose places are in `bytes` in an escaped spelling.
    pub fn found_in<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = RootKind> + 'a {
        self.places.iter().filter(|(_, place)| place.is_escaped_in(bytes)).map(|(kind, _)| *kind)
    }
}

impl EscapablePlace {
    /// `None` if the place contains only characters that are never escaped.
    fn new(whole: String) -> Option<Self> {
        let mut parts = vec![(0, String::new())];
        let mut between = 0;
        for c in whole.chars() {
            if !is_plain(c) {
                between += MAX_ESCAPE_BYTES * c.len_utf8();
                continue;
            }
            if between > 0 {
                parts.push((between, String::new()));
                between = 0;
            }
            parts.iter_mut().last()?.1.push(c);
        }
        if between > 0 {
            parts.push((between, String::new()));
        }
        (parts.len() > 1).then_some(Self { whole, parts })
    }

    fn is_escaped_in(&self, bytes: &[u8]) -> bool {
        let Some(((_, first), rest)) = self.parts.split_first() else { return false };
        let is_escaped =
            |at: usize| !bytes[at..].starts_with(self.whole.as_bytes()) && follow(&bytes[at + first.len()..], rest);
        memmem::find_iter(bytes, first).any(is_escaped)
    }
}

/// Whether `bytes` begin with the parts in their order, each after at most its number of other bytes.
fn follow(bytes: &[u8], parts: &[(usize, String)]) -> bool {
    let Some(((between, part), rest)) = parts.split_first() else { return true };
    let within = &bytes[..bytes.len().min(between + part.len())];
    memmem::find_iter(within, part).any(|at| at > 0 && follow(&bytes[at + part.len()..], rest))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(place: &str, text: &str) -> bool {
        let roots = Roots::new([(RootKind::Workspace, Some(place.into()))]);
        EscapedRoots::new(&roots).found_in(text.as_bytes()).next().is_some()
    }

    #[test]
    fn every_way_of_escaping_is_found() {
        for (place, texts) in [
            ("/me/a b/ws", &["file:///me/a%20b/ws/x", "-I/me/a\\ b/ws", "/me/a\\\\\\ b/ws", "/me/a\\040b/ws"][..]),
            ("/me/é", &["file:///me/%C3%A9/x", "/me/\\u{e9}", "/me/\\303\\251"]),
            (
                "/me/it's a \"b\"/ws",
                &["'/me/it'\\''s a \"b\"/ws'", "/me/it's a \\\"b\\\"/ws", "/me/it&apos;s a &quot;b&quot;/ws"],
            ),
            ("/me/(x)", &["/me/\\(x\\)/y"]),
            ("/me/a,b:c", &["/me/a%2Cb%3Ac"]),
        ] {
            for text in texts {
                assert!(is_found(place, text), "{text}");
                assert!(is_found(place, &format!("{place}/x and then {text}")), "{text}");
            }
            assert!(!is_found(place, place) && !is_found(place, "/you/ws"), "{place}");
        }
        assert!(!is_found("/me/a b/ws", "/me/a and something longer b/ws"));
        assert!(EscapedRoots::new(&Roots::new([(RootKind::Target, Some("/me/w-s_1.0+x@y~".into()))])).is_empty());
    }
}
