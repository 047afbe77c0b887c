//! The format of a trace, version 4. `preload/trace.h` specifies it, and `preload/trace.c` writes it.
//!
//! A trace that was truncated, overfilled, or contains an unfinished record is [`IncompleteTrace`]: the missing part
//! could be the one input that matters.

/// The magic bytes of this version.
pub const MAGIC: &[u8; 8] = b"KACHETR4";
/// Offset of the first record in bytes: behind one page for the header and the remaps, and the filter of 8192 hashes.
pub const LOG_AT: u64 = 4096 + (1 << 13) * 8;
/// Size of the header in bytes: magic, capacity for records, bytes used, whether something was lost.
pub const HEADER_BYTES: usize = 32;

/// Size of a record in bytes, without its texts.
const RECORD_HEADER_BYTES: usize = 24;

/// What a record reports. The numbers are those of `enum kind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is explained in trace.h")]
pub enum RecordKind {
    Start = 1,
    Read = 2,
    Write = 3,
    Stat = 4,
    LinkStat = 5,
    List = 6,
    Link = 7,
    Resolve = 8,
    Env = 9,
    Lookup = 10,
    Exec = 11,
    ExecFailed = 12,
    Spawn = 13,
    Load = 14,
    Connect = 15,
    Lost = 16,
    Environ = 17,
    End = 18,
    Symlink = 19,
    Shell = 20,
    Commands = 21,
    Append = 22,
}

impl RecordKind {
    const ALL: [Self; 22] = [
        Self::Start,
        Self::Read,
        Self::Write,
        Self::Stat,
        Self::LinkStat,
        Self::List,
        Self::Link,
        Self::Resolve,
        Self::Env,
        Self::Lookup,
        Self::Exec,
        Self::ExecFailed,
        Self::Spawn,
        Self::Load,
        Self::Connect,
        Self::Lost,
        Self::Environ,
        Self::End,
        Self::Symlink,
        Self::Shell,
        Self::Commands,
        Self::Append,
    ];
}

/// How the call ended. The numbers are those of `enum result`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is explained in trace.h")]
pub enum CallResult {
    Ok = 0,
    Absent = 1,
    Denied = 2,
    Other = 3,
    File = 10,
    Directory = 11,
    Link = 12,
    Special = 13,
}

impl CallResult {
    const ALL: [Self; 8] =
        [Self::Ok, Self::Absent, Self::Denied, Self::Other, Self::File, Self::Directory, Self::Link, Self::Special];
}

/// One record of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceRecord<'a> {
    /// What happened: the kind of the call, or of the event in the process.
    pub kind: RecordKind,
    /// How the call ended.
    pub result: CallResult,
    /// Whether a plugin made the call: a proc macro, a build script, or a program that one of them started.
    pub plugin: bool,
    /// The process ID. 0 if not known, which only a [`RecordKind::Spawn`] may have.
    pub process: u32,
    /// The text: the path or name that the record is about.
    pub text: &'a [u8],
    /// The extra text, if the kind has one, such as the value of a variable or the target of a link.
    pub extra: &'a [u8],
}

/// The trace is incomplete or damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the trace is not whole")]
pub struct IncompleteTrace;

/// The number of bytes that records take up, according to the first [`HEADER_BYTES`] bytes.
pub fn used(header: &[u8]) -> Result<usize, IncompleteTrace> {
    let number = |at: usize| header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let (capacity, used, lost) =
        (number(8).ok_or(IncompleteTrace)?, number(16).ok_or(IncompleteTrace)?, number(24).ok_or(IncompleteTrace)?);
    if header.get(..8) != Some(MAGIC) || lost != 0 || used > capacity {
        return Err(IncompleteTrace);
    }
    usize::try_from(used).map_err(|_| IncompleteTrace)
}

/// Where a trace has the remaps for C compilers, as a range of bytes.
pub const REMAPS: std::ops::Range<u64> = 64..4096;

/// Encodes remaps for C compilers, each `FROM=TO`, for [`REMAPS`]. `None` if they do not fit, or if one contains a zero
/// byte, which separates them.
pub fn remaps(all: &[String]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for remap in all.iter().filter(|remap| !remap.is_empty()) {
        bytes.extend(remap.as_bytes());
        bytes.push(0);
    }
    bytes.push(0);
    let fits = bytes.len() as u64 <= REMAPS.end - REMAPS.start;
    (fits && !all.iter().any(|remap| remap.contains('\0'))).then_some(bytes)
}

/// The header of an empty trace.
pub fn header(capacity: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&capacity.to_le_bytes());
    header
}

/// Parses all records, without the header of the trace. A record that is unknown or cut off is an error.
pub fn records(mut log: &[u8]) -> Result<Vec<TraceRecord<'_>>, IncompleteTrace> {
    let mut records = Vec::with_capacity(log.len() / 64);
    while !log.is_empty() {
        let (record, length) = record(log).ok_or(IncompleteTrace)?;
        records.push(record);
        log = &log[length..];
    }
    Ok(records)
}

fn record(log: &[u8]) -> Option<(TraceRecord<'_>, usize)> {
    let number = |at: usize| {
        let bytes = log.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (length, text, extra) = (number(0)?, number(12)?, number(16)?);
    let texts = RECORD_HEADER_BYTES.checked_add(text)?.checked_add(extra)?;
    if length != texts.checked_next_multiple_of(8)? || length > log.len() {
        return None;
    }
    let kind = RecordKind::ALL.into_iter().find(|kind| *kind as u8 == log[4])?;
    let result = CallResult::ALL.into_iter().find(|result| *result as u8 == log[5])?;
    let process = u32::try_from(number(8)?).ok()?;
    let (text, extra) = log.get(RECORD_HEADER_BYTES..texts)?.split_at(text);
    Some((TraceRecord { kind, result, plugin: log[6] != 0, process, text, extra }, length))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Encodes a record as `trace.c` does.
    pub(crate) fn encode(record: &TraceRecord<'_>) -> Vec<u8> {
        let texts = RECORD_HEADER_BYTES + record.text.len() + record.extra.len();
        let mut bytes = Vec::new();
        let mut number = |value: usize| bytes.extend(u32::try_from(value).unwrap().to_le_bytes());
        number(texts.next_multiple_of(8));
        number(0);
        number(record.process as usize);
        number(record.text.len());
        number(record.extra.len());
        number(0);
        bytes[4..7].copy_from_slice(&[record.kind as u8, record.result as u8, record.plugin.into()]);
        bytes.extend(record.text);
        bytes.extend(record.extra);
        bytes.resize(texts.next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn records_round_trip() {
        let read = TraceRecord {
            kind: RecordKind::Read,
            result: CallResult::Ok,
            plugin: true,
            process: 7,
            text: b"/a/path",
            extra: b"",
        };
        let env =
            TraceRecord { kind: RecordKind::Env, result: CallResult::Absent, text: b"NAME", extra: b"value", ..read };
        let log: Vec<u8> = [read, env].iter().flat_map(encode).collect();
        assert_eq!(records(&log).unwrap(), [read, env]);
    }

    #[test]
    fn a_trace_that_is_not_whole_is_incomplete() {
        let record = TraceRecord {
            kind: RecordKind::Read,
            result: CallResult::Ok,
            plugin: false,
            process: 7,
            text: b"/a",
            extra: b"b",
        };
        let log = encode(&record);
        for end in 1..log.len() {
            assert_eq!(records(&log[..end]), Err(IncompleteTrace), "cut at {end}");
        }
        for (at, value) in [(0, 0), (0, 64), (4, 99), (5, 77), (12, 200), (16, 255)] {
            let mut log = log.clone();
            log[at] = value;
            assert_eq!(records(&log), Err(IncompleteTrace), "byte {at}");
        }
        // A record that was never finished: its length is still 0.
        let mut unfinished = log.clone();
        unfinished.extend([0; 32]);
        assert_eq!(records(&unfinished), Err(IncompleteTrace));
    }

    #[test]
    fn a_header_says_what_was_lost() {
        let empty = header(100);
        assert_eq!(used(&empty), Ok(0));
        let with = |at: usize, value: u64| {
            let mut header = empty;
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
            header
        };
        assert_eq!(used(&with(16, 100)), Ok(100));
        assert_eq!(used(&with(16, 101)), Err(IncompleteTrace));
        assert_eq!(used(&with(24, 1)), Err(IncompleteTrace));
        assert_eq!(used(&with(0, 1)), Err(IncompleteTrace));
        assert_eq!(used(&empty[..31]), Err(IncompleteTrace));
    }
}
