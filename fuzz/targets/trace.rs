//! What the observer wrote, as rustc or anything under it could have left it: read, or torn, but never a panic.
#![no_main]

use kache::observe::{seen, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, log)) = data.split_at_checked(wire::HEADER) else { return };
    let _ = wire::used(header);
    if let Ok(records) = wire::records(log) {
        let root = records.first().map_or(1, |record| record.process);
        let _ = seen::tell(&records, root);
    }
});
