//! Interprets the answer to a GET by its status and `Content-Range`: servers may ignore ranges, or send other ones.

/// A range of bytes to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::remote) struct Range {
    /// First byte, counted from zero.
    pub(in crate::remote) first: u64,
    /// Last byte, inclusive; `None`: the last one of the object.
    pub(in crate::remote) last: Option<u64>,
}

impl Range {
    /// The range as the header spells it.
    pub(in crate::remote) fn header(self) -> String {
        match self.last {
            Some(last) => format!("bytes={}-{last}", self.first),
            None => format!("bytes={}-", self.first),
        }
    }
}

/// What the body of an answer contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::remote) enum BodyContent {
    /// The whole object, with its size in bytes if it is known.
    Whole(Option<u64>),
    /// Bytes from the first requested one on, at most to the last requested one.
    Part {
        /// Last byte, inclusive.
        last: u64,
        /// Size of the object in bytes, if it is known.
        total: Option<u64>,
    },
    /// Bytes that were not requested.
    Unexpected(&'static str),
}

/// Classifies the answer to a request for the range `requested`; `None`: for the whole object.
pub(in crate::remote) fn interpret(
    requested: Option<Range>,
    status: u16,
    content_range: Option<&str>,
    length: Option<u64>,
) -> BodyContent {
    match (requested, status) {
        (_, 200) => BodyContent::Whole(length),
        (None, _) => BodyContent::Unexpected("a part of an object that was asked for as a whole"),
        (Some(requested), 206) => part(requested, content_range, length),
        (Some(_), _) => BodyContent::Unexpected("neither the object nor a part of it"),
    }
}

fn part(requested: Range, content_range: Option<&str>, length: Option<u64>) -> BodyContent {
    let Some((first, last, total)) = content_range.and_then(parse) else {
        return BodyContent::Unexpected("a part that does not say which");
    };
    let fits = first == requested.first
        && first <= last
        && requested.last.is_none_or(|requested| last <= requested)
        && total.is_none_or(|total| last < total)
        && length.is_none_or(|length| length == last - first + 1);
    match fits {
        true => BodyContent::Part { last, total },
        false => BodyContent::Unexpected("another part than the one that was asked for"),
    }
}

/// Parses `bytes 0-9/100` or `bytes 0-9/*`.
fn parse(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_a_part() {
        let requested = Some(Range { first: 10, last: Some(19) });
        let of = |range, length| interpret(requested, 206, Some(range), length);
        assert_eq!(of("bytes 10-19/100", Some(10)), BodyContent::Part { last: 19, total: Some(100) });
        assert_eq!(of("bytes 10-19/*", None), BodyContent::Part { last: 19, total: None });
        assert_eq!(of("bytes 10-14/15", Some(5)), BodyContent::Part { last: 14, total: Some(15) });
        for range in
            ["bytes 0-9/100", "bytes 10-20/100", "bytes 10-19/15", "bytes 19-10/100", "10-19/100", "bytes a-b/c", ""]
        {
            assert!(matches!(of(range, None), BodyContent::Unexpected(_)), "{range}");
        }
        assert!(matches!(of("bytes 10-19/100", Some(9)), BodyContent::Unexpected(_)), "another length");
        assert!(matches!(interpret(requested, 206, None, Some(10)), BodyContent::Unexpected(_)));
        let open = Some(Range { first: 10, last: None });
        assert_eq!(
            interpret(open, 206, Some("bytes 10-99/100"), None),
            BodyContent::Part { last: 99, total: Some(100) }
        );
    }

    #[test]
    fn a_whole_object_is_known_by_its_status() {
        let requested = Some(Range { first: 10, last: Some(19) });
        assert_eq!(interpret(requested, 200, Some("bytes 10-19/100"), Some(100)), BodyContent::Whole(Some(100)));
        assert_eq!(interpret(None, 200, None, None), BodyContent::Whole(None));
        assert!(matches!(interpret(None, 206, Some("bytes 0-9/100"), None), BodyContent::Unexpected(_)));
        assert!(matches!(interpret(requested, 204, None, None), BodyContent::Unexpected(_)));
    }

    #[test]
    fn headers_are_spelled_as_the_standard_wants() {
        assert_eq!(Range { first: 0, last: Some(7) }.header(), "bytes=0-7");
        assert_eq!(Range { first: 8, last: None }.header(), "bytes=8-");
    }
}
