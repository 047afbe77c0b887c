//! The compressed stream: exactly one zstd frame, hashed and counted while it is read.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::error::ImportError;
use crate::model::Digest;
use crate::remote::format::limits::MAX_WINDOW_LOG;
use crate::remote::format::manifest::PackRef;
use crate::remote::format::refused::Refused;

/// First bytes of a frame. Other data that zstd can read (skippable frames, older formats) is not a pack.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Compressed bytes to hold in memory.
const BUFFER_BYTES: usize = 128 * 1024;
/// Name of the compressed bytes in refusals. The space tells it apart from the outputs of rustc.
const NAME_IN_REFUSALS: &str = "the pack";
/// Name of the archive in refusals.
const ARCHIVE_IN_REFUSALS: &str = "the archive";
/// zstd's error message (`zstd/lib/common/error_private.c`); the `zstd` crate does not pass on the code.
const WINDOW_ERROR: &str = "Frame requires too much memory for decoding";

/// A pack that is being read.
pub(super) struct FrameReader<'a, R> {
    source: &'a mut R,
    declared: PackRef,
    archive: PackRef,
    archive_hasher: blake3::Hasher,
    /// Decoded bytes so far.
    archive_count: u64,
    decoder: Decoder<'static>,
    buffer: Vec<u8>,
    /// The bytes in the buffer that were read but not yet decoded.
    pending: std::ops::Range<usize>,
    hasher: blake3::Hasher,
    /// Compressed bytes read so far.
    count: u64,
    ended: bool,
}

impl<'a, R: Read> FrameReader<'a, R> {
    /// Starts to read the pack that the manifest declares, which contains the declared archive.
    pub(super) fn open(source: &'a mut R, declared: PackRef, archive: PackRef) -> Result<Self, ImportError> {
        let decoder = || {
            let mut decoder = Decoder::new()?;
            decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
            io::Result::Ok(decoder)
        };
        Ok(Self {
            source,
            declared,
            archive,
            archive_hasher: blake3::Hasher::new(),
            archive_count: 0,
            decoder: decoder().map_err(ImportError::Read)?,
            buffer: vec![0; BUFFER_BYTES],
            pending: 0..0,
            hasher: blake3::Hasher::new(),
            count: 0,
            ended: false,
        })
    }

    /// Reads the first bytes, which show whether this is a frame.
    pub(super) fn check_magic(&mut self) -> Result<(), ImportError> {
        while self.pending.len() < MAGIC.len() {
            if !self.fill()? {
                return Err(self.truncated().into());
            }
        }
        if self.buffer[..MAGIC.len()] == MAGIC { Ok(()) } else { Err(Refused::Compression.into()) }
    }

    /// Reads decoded bytes; 0 at the end of the frame.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, ImportError> {
        while !self.ended && !out.is_empty() {
            // Bytes that are already decoded come first, without more input.
            let status =
                self.decoder.run_on_buffers(&self.buffer[self.pending.clone()], out).map_err(|e| refusal(&e))?;
            self.pending.start += status.bytes_read;
            self.ended = status.remaining == 0;
            if status.bytes_written > 0 {
                self.archive_hasher.update(&out[..status.bytes_written]);
                self.archive_count += status.bytes_written as u64;
                return Ok(status.bytes_written);
            }
            if self.ended {
                break;
            }
            if self.pending.is_empty() {
                if !self.fill()? {
                    return Err(self.truncated().into());
                }
            } else if status.bytes_read == 0 {
                return Err(Refused::Compression.into());
            }
        }
        Ok(0)
    }

    /// Checks that the frame and the pack have ended, and that the pack is the declared one.
    pub(super) fn end(&mut self) -> Result<(), ImportError> {
        if self.read(&mut [0])? > 0 {
            return Err(Refused::Trailing("the archive").into());
        }
        let follows = !self.pending.is_empty() || self.fill()?;
        if follows {
            return Err(Refused::Trailing("the compressed stream").into());
        }
        if self.count < self.declared.size {
            return Err(Refused::TooShort(NAME_IN_REFUSALS.into()).into());
        }
        if self.digest() != self.declared.digest {
            return Err(Refused::Digest(NAME_IN_REFUSALS.into()).into());
        }
        let archive_digest = Digest::from_bytes(*self.archive_hasher.finalize().as_bytes());
        let is_declared = (archive_digest, self.archive_count) == (self.archive.digest, self.archive.size);
        if is_declared { Ok(()) } else { Err(Refused::Digest(ARCHIVE_IN_REFUSALS.into()).into()) }
    }

    /// Reads the rest of a pack whose content was refused, and chooses the reason. Bytes that are not the declared ones
    /// come first, since their content does not show who made the pack.
    pub(super) fn verify_rest(&mut self, refused: Refused) -> Refused {
        loop {
            self.pending = 0..0;
            match self.fill() {
                Ok(true) => {}
                Ok(false) if self.count == self.declared.size && self.digest() != self.declared.digest => {
                    return Refused::Digest(NAME_IN_REFUSALS.into());
                }
                Err(ImportError::Refused(length)) => return length,
                Ok(false) | Err(_) => return refused,
            }
        }
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }

    fn truncated(&self) -> Refused {
        if self.count < self.declared.size { Refused::TooShort(NAME_IN_REFUSALS.into()) } else { Refused::Compression }
    }

    /// Reads more compressed bytes after the pending ones. `false`: the source has ended.
    fn fill(&mut self) -> Result<bool, ImportError> {
        self.buffer.copy_within(self.pending.clone(), 0);
        self.pending = 0..self.pending.len();
        loop {
            match self.source.read(&mut self.buffer[self.pending.end..]) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.hasher.update(&self.buffer[self.pending.end..self.pending.end + n]);
                    self.pending.end += n;
                    self.count += n as u64;
                    let is_within = self.count <= self.declared.size;
                    return if is_within { Ok(true) } else { Err(Refused::TooLong(NAME_IN_REFUSALS.into()).into()) };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ImportError::Read(error)),
            }
        }
    }
}

fn refusal(error: &io::Error) -> Refused {
    let is_window = error.to_string() == WINDOW_ERROR;
    if is_window { Refused::Window } else { Refused::Compression }
}
