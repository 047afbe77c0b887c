//! Unix sockets at paths of any length, accessible to this user only.
//!
//! The address of a socket holds about 107 bytes, and paths in cache directories may be longer. If the system supports
//! it, the address then refers to the open directory instead.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{At, Result};

/// Bytes that fit into an address on every system (macOS: 104 with the final zero).
const MAX_ADDRESS_BYTES: usize = 100;

/// Connects to the socket at `path` without waiting. If the listener is asleep (stopped, or in a paused container) and
/// its queue is full, a plain `connect` would wait forever.
pub fn connect(path: &Path) -> Result<UnixStream> {
    let (address, _dir) = address(path)?;
    let open = || -> std::io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(&address)?)?;
        socket.set_nonblocking(false)?;
        Ok(UnixStream::from(OwnedFd::from(socket)))
    };
    open().at("connect to", path)
}

/// Listens at `path`, replacing an existing socket, and makes its directory accessible to this user only. The caller
/// must ensure (by a lock) that no other process listens.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    super::create_dir_all(dir)?;
    let only_me = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir, only_me.clone()).at("set the mode of", dir)?;
    super::remove_file(path)?;
    let (address, _dir) = address(path)?;
    let listener = UnixListener::bind(address).at("listen at", path)?;
    std::fs::set_permissions(path, only_me).at("set the mode of", path)?;
    Ok(listener)
}

/// Returns a spelling of `path` that fits into an address, and the directory that must stay open while it is used.
fn address(path: &Path) -> Result<(PathBuf, Option<std::fs::File>)> {
    if path.as_os_str().len() <= MAX_ADDRESS_BYTES || !cfg!(target_os = "linux") {
        return Ok((path.to_owned(), None));
    }
    let dir = super::open(path.parent().unwrap_or(Path::new("/")))?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    Ok((through.join(path.file_name().unwrap_or_default()), Some(dir)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    #[cfg(target_os = "linux")]
    fn nobody_waits_for_a_listener_that_sleeps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = Socket::from(OwnedFd::from(listen(&path).unwrap()));
        listener.listen(1).unwrap();
        let streams: Vec<_> = (0..10).map(|_| connect(&path)).collect();
        assert!(streams[0].is_ok() && streams[9].is_err());
        let queued = streams.iter().filter(|stream| stream.is_ok()).count();
        for _ in 0..queued {
            listener.accept().unwrap();
        }
        assert!(connect(&path).is_ok(), "it is awake again");
    }

    #[test]
    fn a_socket_is_mine_alone_however_long_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for place in [dir.path().join("short"), dir.path().join("x".repeat(120))] {
            let path = place.join("socket");
            let listener = listen(&path).unwrap();
            let mut client = connect(&path).unwrap();
            let mut server = listener.accept().unwrap().0;
            client.write_all(b"x").unwrap();
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
            for of in [&place, &path] {
                assert_eq!(super::super::metadata(of).unwrap().permissions().mode() & 0o777, 0o700);
            }
        }
        assert!(connect(&dir.path().join("none")).unwrap_err().is_absent());
    }
}
