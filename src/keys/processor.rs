//! The processor of this machine, as seen by code that is compiled for `native`.

use std::path::Path;

use crate::fsx;
use crate::model::Digest;

/// The file in which Linux describes the processor. The observer also reports a read of this file if a compiler is told
/// to compile for `native`.
pub(super) const CPUINFO: &str = "/proc/cpuinfo";

/// Digest of the model and feature lines of the first processor. `None` if the system does not provide them.
pub(super) fn digest() -> Option<Digest> {
    const LINE_PREFIXES: [&str; 8] =
        ["vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part", "CPU implementer"];
    let text = fsx::read_to_string(Path::new(CPUINFO)).ok()?;
    let first = text.split("\n\n").next()?;
    let is_wanted = |line: &&str| LINE_PREFIXES.iter().any(|name| line.starts_with(name));
    let lines: Vec<&str> = first.lines().filter(is_wanted).collect();
    (!lines.is_empty()).then(|| Digest::of(lines.join("\n").as_bytes()))
}
