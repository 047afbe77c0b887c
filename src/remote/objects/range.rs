//! Ranges of bytes.

/// A range of bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte, counted from zero.
    pub first: u64,
    /// Number of bytes; not zero.
    pub length: u64,
}
