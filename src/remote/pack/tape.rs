//! The archive: plain ustar headers, one way to spell each.

use std::io::Read;

use tar::{EntryType, Header};

use super::frame::Frame;
use super::read::ImportError;
use crate::remote::Refused;
use crate::remote::manifest::check_name;

/// Bytes of a header, and what every file is filled up to.
pub(super) const BLOCK: usize = 512;
/// What refusals call it.
const WHAT: &str = "the archive";

/// The header of a file. The name was checked: it fits.
pub(super) fn header(name: &str, size: u64, executable: bool) -> Header {
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

/// A file that comes next: what its header says, which is not yet known to be true.
pub(super) struct Next {
    header: Header,
    /// Its name: one normal component.
    pub(super) name: String,
    /// Its bytes.
    pub(super) size: u64,
}

impl Next {
    /// Whether the header is the one way to spell these.
    pub(super) fn is_spelled(&self, executable: bool) -> bool {
        header(&self.name, self.size, executable).as_bytes() == self.header.as_bytes()
    }
}

/// The archive in a frame.
pub(super) struct Tape<'f, 'a, R> {
    frame: &'f mut Frame<'a, R>,
}

impl<'f, 'a, R: Read> Tape<'f, 'a, R> {
    pub(super) fn new(frame: &'f mut Frame<'a, R>) -> Self {
        Self { frame }
    }

    /// The next header. `None`: the archive has ended, and nothing follows.
    pub(super) fn next(&mut self) -> Result<Option<Next>, ImportError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            self.fill(&mut block)?;
            if block != [0; BLOCK] {
                return Err(Refused::Trailing(WHAT).into());
            }
            self.frame.end()?;
            return Ok(None);
        }
        Ok(Some(parse(Header::from_byte_slice(&block))?))
    }

    /// Hands the bytes of a file to `take`, and no more than it has.
    pub(super) fn content(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let n = self.frame.read(&mut buffer[..most])?;
            if n == 0 {
                return Err(Refused::Malformed(WHAT).into());
            }
            take(&buffer[..n])?;
            left -= n as u64;
        }
        let mut padding = [0; BLOCK];
        let length = (BLOCK - usize::try_from(size % BLOCK as u64).unwrap_or(0)) % BLOCK;
        self.fill(&mut padding[..length])?;
        if padding == [0; BLOCK] { Ok(()) } else { Err(Refused::Malformed(WHAT).into()) }
    }

    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), ImportError> {
        while !out.is_empty() {
            match self.frame.read(out)? {
                0 => return Err(Refused::Malformed(WHAT).into()),
                n => out = &mut out[n..],
            }
        }
        Ok(())
    }
}

/// Reads a header and refuses by name what else tar can hold.
fn parse(header: &Header) -> Result<Next, Refused> {
    let malformed = |_| Refused::Malformed(WHAT);
    let mut summed = header.clone();
    summed.set_cksum();
    if summed.as_bytes() != header.as_bytes() || header.as_ustar().is_none() {
        // GNU's own headers are its extensions.
        return Err(if header.as_gnu().is_some() { Refused::Extension } else { Refused::Malformed(WHAT) });
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
    // A prefix is a directory.
    if header.as_ustar().is_some_and(|ustar| ustar.prefix[0] != 0) {
        return Err(Refused::bad_name(&name));
    }
    check_name(&name)?;
    Ok(Next { name, size: header.entry_size().map_err(malformed)?, header: header.clone() })
}
