//! Just enough HTTP/1.1 for a proxy between a client and a server: heads, and bodies that end by length, in chunks, or
//! with the connection.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most bytes to pass on at once.
const CHUNK: usize = 64 * 1024;

/// Limit for the size of a head in bytes. Heads in these tests are smaller.
const HEAD: usize = 256 * 1024;

/// A connection to read from, and the bytes that were read from it but not used yet.
pub(super) struct Incoming<R> {
    from: R,
    unread: Vec<u8>,
}

/// The first line of a message and its headers, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    pub(super) first: String,
    pub(super) headers: Vec<(String, String)>,
}

/// How a reader finds the end of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body that is being read.
pub(super) struct Body {
    framing: Framing,
    /// Bytes left in the whole body, or in the current chunk.
    left: u64,
    is_over: bool,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, unread: Vec::new() }
    }

    /// Reads more bytes. False: the connection has ended.
    async fn more(&mut self) -> io::Result<bool> {
        self.unread.reserve(CHUNK);
        Ok(self.from.read_buf(&mut self.unread).await? > 0)
    }

    /// Reads up to and including `end`. `None`: the connection ended before the first byte.
    async fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                let rest = self.unread.split_off(at + end.len());
                return Ok(Some(std::mem::replace(&mut self.unread, rest)));
            }
            if self.unread.len() > HEAD {
                return Err(io::Error::other("a head without end"));
            }
            if !self.more().await? {
                return if self.unread.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads the next head. `None`: the peer closed the connection between two messages.
    pub(super) async fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(bytes) = self.until(b"\r\n\r\n").await? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let split = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Ok(Some(Head { first, headers: lines.filter_map(split).collect() }))
    }

    /// Reads at most `most` bytes. Empty: the connection has ended.
    async fn some(&mut self, most: u64) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() {
            self.more().await?;
        }
        let take = usize::try_from(most).unwrap_or(usize::MAX).min(self.unread.len()).min(CHUNK);
        let rest = self.unread.split_off(take);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    async fn chunk_size(&mut self) -> io::Result<u64> {
        let line = self.until(b"\r\n").await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let text = String::from_utf8_lossy(&line);
        let digits = text.trim().split(';').next().unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(|_| io::Error::other(format!("chunk size {text:?}")))
    }
}

impl Head {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    pub(super) fn set(&mut self, name: &str, value: &dyn ToString) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_string()));
    }

    /// Returns a word of the first line; empty if there is none.
    pub(super) fn word(&self, at: usize) -> &str {
        self.first.split(' ').nth(at).unwrap_or_default()
    }

    /// Returns the status, if this is the head of an answer; else 0.
    pub(super) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    fn stated(&self) -> Option<Framing> {
        let chunked = self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = self.header("content-length").and_then(|value| value.parse().ok());
        if chunked { Some(Framing::Chunked) } else { length.map(Framing::Length) }
    }

    /// Returns the framing of the body of this request.
    pub(super) fn request_framing(&self) -> Framing {
        self.stated().unwrap_or(Framing::Length(0))
    }

    /// Returns the framing of the body of this answer to a request of `method`.
    pub(super) fn answer_framing(&self, method: &str) -> Framing {
        let has_none = method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304);
        if has_none { Framing::Length(0) } else { self.stated().unwrap_or(Framing::UntilClose) }
    }

    pub(super) async fn send(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let headers = self.headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]);
        let text: String = [self.first.as_str(), "\r\n"].into_iter().chain(headers).chain(["\r\n"]).collect();
        to.write_all(text.as_bytes()).await
    }
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { framing, left, is_over: framing == Framing::Length(0) }
    }

    /// Reads the next bytes and decodes them. `None`: the body has ended.
    pub(super) async fn next<R: AsyncRead + Unpin>(&mut self, from: &mut Incoming<R>) -> io::Result<Option<Vec<u8>>> {
        if self.is_over {
            return Ok(None);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            self.left = from.chunk_size().await?;
            if self.left == 0 {
                self.is_over = true;
                while from.until(b"\r\n").await?.is_some_and(|line| line != b"\r\n") {}
                return Ok(None);
            }
        }
        let most = if self.framing == Framing::UntilClose { u64::MAX } else { self.left };
        let bytes = from.some(most).await?;
        if bytes.is_empty() {
            self.is_over = true;
            let is_end = self.framing == Framing::UntilClose;
            return if is_end { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        self.left = self.left.saturating_sub(bytes.len() as u64);
        match self.framing {
            Framing::Length(_) => self.is_over = self.left == 0,
            Framing::Chunked if self.left == 0 => drop(from.until(b"\r\n").await?),
            _ => {}
        }
        Ok(Some(bytes))
    }

    /// Reads the whole body.
    pub(super) async fn all<R: AsyncRead + Unpin>(mut self, from: &mut Incoming<R>) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next(from).await? {
            all.extend(bytes);
        }
        Ok(all)
    }
}

/// Writes a piece of a body in this framing.
pub(super) async fn send_piece(to: &mut (impl AsyncWrite + Unpin), framing: Framing, bytes: &[u8]) -> io::Result<()> {
    if framing != Framing::Chunked {
        return to.write_all(bytes).await;
    }
    to.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    to.write_all(bytes).await?;
    to.write_all(b"\r\n").await
}

/// Writes the end of a body in this framing.
pub(super) async fn send_end(to: &mut (impl AsyncWrite + Unpin), framing: Framing) -> io::Result<()> {
    if framing == Framing::Chunked { to.write_all(b"0\r\n\r\n").await } else { Ok(()) }
}
