//! Traces of the observer, as rustc or anything that it started could have left them: kache reads them or reports them
//! as incomplete, but never panics.
#![no_main]

use kache::observe::{FirstProcess, TargetNames, facts, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, log)) = data.split_at_checked(wire::HEADER_BYTES) else { return };
    let _ = wire::used(header);
    if let Ok(records) = wire::records(log) {
        let process = records.first().map_or(1, |record| record.process);
        for is_script in [false, true] {
            let target = Some(TargetNames { name: "/w/target", real: "/disk/target" });
            let _ = facts::facts_of(&records, FirstProcess { process, is_script, target });
        }
    }
});
