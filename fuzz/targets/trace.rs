//! Traces of the observer, as rustc or anything that it started could have left them: kache reads them or reports them
//! as torn, but never panics.
#![no_main]

use kache::observe::seen::Target;
use kache::observe::{Root, seen, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((header, log)) = data.split_at_checked(wire::HEADER) else { return };
    let _ = wire::used(header);
    if let Ok(records) = wire::records(log) {
        let process = records.first().map_or(1, |record| record.process);
        for is_script in [false, true] {
            let target = Some(Target { name: "/w/target", real: "/disk/target" });
            let _ = seen::tell(&records, Root { process, is_script, target });
        }
    }
});
