//! Transfers of large objects: downloads in ranges, uploads in parts, both with retries and resumption.
//!
//! A download is `Ok` only when every byte is on disk and the digest matches; until then, its file must not be used. An
//! upload in parts becomes visible only when it is completed; its state on disk allows a killed upload to be resumed.
//! Callers begin and end the [`super::progress::ActiveTransfer`] that a transfer reports to.

mod descriptions;
mod download;
mod job;
mod local_file;
mod multipart;
mod pace;
mod parts;
mod sink;
mod stale_uploads;
mod state;
mod stop;
mod upload;

pub use descriptions::{Download, Upload};
pub use download::{download_bytes, download_file};
pub(in crate::remote) use download::{download_bytes_from, download_file_from};
pub use multipart::abort_old_uploads;
pub use stale_uploads::abort_uploads_older_than;
pub use stop::must_stop;
pub(in crate::remote) use stop::unless_stopped;
pub use upload::upload_file;
