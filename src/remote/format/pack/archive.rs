//! The archive: plain ustar headers, each with one valid spelling.

use std::io::Read;

use tar::{EntryType, Header};

use super::error::ImportError;
use super::frame::FrameReader;
use crate::remote::format::manifest::check_name;
use crate::remote::format::refused::Refused;

/// Size of a header in bytes; each file is padded to a multiple of it.
pub(super) const BLOCK_BYTES: usize = 512;
/// Name of the archive in refusals.
const NAME_IN_REFUSALS: &str = "the archive";

/// Creates the header of a file. The caller has checked that the name fits.
pub(super) fn file_header(name: &str, size: u64, executable: bool) -> Header {
    let mut header = Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
    header.set_size(size);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    header
}

/// A file as its header describes it; not yet verified.
pub(super) struct FileHeader {
    header: Header,
    /// File name: one normal path component.
    pub(super) name: String,
    /// Size of the file in bytes, as the header declares it.
    pub(super) size: u64,
}

impl FileHeader {
    /// Whether the header is the one valid spelling of these values.
    pub(super) fn is_canonical(&self, executable: bool) -> bool {
        file_header(&self.name, self.size, executable).as_bytes() == self.header.as_bytes()
    }
}

/// Reads the tar archive in a frame.
pub(super) struct TarReader<'f, 'a, R> {
    frame: &'f mut FrameReader<'a, R>,
}

impl<'f, 'a, R: Read> TarReader<'f, 'a, R> {
    pub(super) fn new(frame: &'f mut FrameReader<'a, R>) -> Self {
        Self { frame }
    }

    /// Reads the next header. `None`: the archive has ended, and no data follows.
    pub(super) fn next_header(&mut self) -> Result<Option<FileHeader>, ImportError> {
        let mut block = [0; BLOCK_BYTES];
        self.fill(&mut block)?;
        if block == [0; BLOCK_BYTES] {
            self.fill(&mut block)?;
            if block != [0; BLOCK_BYTES] {
                return Err(Refused::Trailing(NAME_IN_REFUSALS).into());
            }
            self.frame.end()?;
            return Ok(None);
        }
        Ok(Some(parse_header(Header::from_byte_slice(&block))?))
    }

    /// Passes the `size` bytes of a file to `consume`, and checks the padding.
    pub(super) fn read_content(
        &mut self,
        size: u64,
        mut consume: impl FnMut(&[u8]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let n = self.frame.read(&mut buffer[..wanted])?;
            if n == 0 {
                return Err(Refused::Malformed(NAME_IN_REFUSALS).into());
            }
            consume(&buffer[..n])?;
            left -= n as u64;
        }
        let mut padding = [0; BLOCK_BYTES];
        let length = (BLOCK_BYTES - usize::try_from(size % BLOCK_BYTES as u64).unwrap_or(0)) % BLOCK_BYTES;
        self.fill(&mut padding[..length])?;
        if padding == [0; BLOCK_BYTES] { Ok(()) } else { Err(Refused::Malformed(NAME_IN_REFUSALS).into()) }
    }

    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), ImportError> {
        while !out.is_empty() {
            match self.frame.read(out)? {
                0 => return Err(Refused::Malformed(NAME_IN_REFUSALS).into()),
                n => out = &mut out[n..],
            }
        }
        Ok(())
    }
}

/// Parses a header. Refuses other kinds of tar entries, each with its reason.
fn parse_header(header: &Header) -> Result<FileHeader, Refused> {
    let malformed = |_| Refused::Malformed(NAME_IN_REFUSALS);
    let mut summed = header.clone();
    summed.set_cksum();
    if summed.as_bytes() != header.as_bytes() || header.as_ustar().is_none() {
        // GNU's headers are extensions of the format.
        return Err(if header.as_gnu().is_some() { Refused::Extension } else { Refused::Malformed(NAME_IN_REFUSALS) });
    }
    match header.as_old().linkflag[0] {
        b'0' => {}
        b'1' | b'2' => return Err(Refused::Link),
        b'3'..=b'6' => return Err(Refused::Special),
        _ => return Err(Refused::Extension),
    }
    let field = &header.as_old().name;
    let length = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let name = String::from_utf8_lossy(&field[..length]).into_owned();
    // A prefix would put the file into a directory.
    if header.as_ustar().is_some_and(|ustar| ustar.prefix[0] != 0) {
        return Err(Refused::bad_name(&name));
    }
    check_name(&name)?;
    Ok(FileHeader { name, size: header.entry_size().map_err(malformed)?, header: header.clone() })
}
