//! Removes what killed transfers left, on this machine and on the remote. Best effort.

use super::remote::Remote;
use super::{known, outbox};
use crate::fsx::{clock, sweep};
use crate::store::Layout;

/// Removes what killed transfers left on this machine (temporary files after an hour, packs in the outbox after three
/// days), and what was known of remotes a month ago.
pub fn sweep(layout: &Layout) {
    // Files for a directory that did not exist are above it.
    for dir in ["", "queue", "inbox", "uploads", "doubts", "agent"] {
        let _ = sweep::sweep(&layout.remote().join(dir), clock::now());
    }
    outbox::sweep(layout, clock::now());
    known::sweep(layout, clock::now());
}

/// Aborts multipart uploads that this machine began more than three days ago and did not finish: servers keep their
/// parts, and charge for them.
pub async fn abort_stale_uploads(remote: &Remote, layout: &Layout) {
    for layer in remote.layers.iter().filter(|layer| !layer.read_only) {
        let _ = layer.objects.abort_old_uploads(&layout.remote().join("uploads")).await;
    }
}
