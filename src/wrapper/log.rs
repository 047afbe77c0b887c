//! The log file, which users turn on with `KACHE_LOG`. kache never logs to stderr.

use std::fs::File;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

use crate::config::Config;
use crate::fsx;
use crate::keys::Lookup;

/// The path of the log file below `cache_dir`.
pub(super) fn path(cache_dir: &Path) -> PathBuf {
    cache_dir.join("log").join("kache.log")
}

/// Opens the log file if logging is on. If it cannot be opened, kache does not log.
pub(super) fn init(config: &Config) {
    let level = config.log.value.0;
    if level == LevelFilter::OFF {
        return;
    }
    let Ok(file) = open(&path(&config.cache_dir.value)) else { return };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(std::sync::Mutex::new(file));
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
}

fn open(path: &Path) -> fsx::Result<File> {
    fsx::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fsx::open_append(path)
}

/// Whether the log includes key traces.
pub(super) fn wants_key_trace(config: &Config) -> bool {
    config.log.value.0 == LevelFilter::TRACE
}

/// Logs a lookup key, and its key trace if there is one.
pub(super) fn key(crate_name: &str, lookup: &Lookup) {
    tracing::debug!(crate_name, key = %lookup.key, "lookup key");
    if let Some(trace) = &lookup.key_trace {
        tracing::trace!("lookup key {} of {crate_name} is made of\n{trace}", lookup.key);
    }
}
