//! What the symbols of a library that rustc made tell about it.
//!
//! Only ELF of 64 bits, little-endian; anything else tells nothing.

/// The section that names functions (`SHT_SYMTAB`).
const SYMBOL_TABLE: u32 = 2;

/// Whether the code of a library may walk through all variables: it has a function of std's `Vars` or `VarsOs`, other than
/// the one that drops it. (Starting a program links `env::vars_os` and drops what that gives, but does not walk through
/// it. Measured on rustc 1.95, both manglings.) Without symbols: it may.
pub fn may_walk_environment(library: &[u8]) -> bool {
    let Some(names) = symbol_names(library) else { return true };
    let walks = |name: &[u8]| {
        let holds = |part: &str| memchr::memmem::find(name, part.as_bytes()).is_some();
        let of_vars = holds("env..Vars") || (holds("3env") && (holds("4Vars") || holds("6VarsOs")));
        of_vars && !holds("drop_in_place")
    };
    names.split(|byte| *byte == 0).any(walks)
}

/// The names of all symbols, each followed by a zero byte.
fn symbol_names(file: &[u8]) -> Option<&[u8]> {
    const SECTION: usize = 64;
    // Class 2: 64 bits; data 1: little-endian.
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let sections = number(file, 40)?;
    let section = |at: usize| file.get(sections.checked_add(at.checked_mul(SECTION)?)?..)?.get(..SECTION);
    let count = usize::from(u16::from_le_bytes(file.get(60..62)?.try_into().ok()?));
    let is_symbols = |at: &usize| section(*at).and_then(|section| word(section, 4)) == Some(SYMBOL_TABLE);
    let names = usize::try_from(word(section((0..count).find(is_symbols)?)?, 40)?).ok()?;
    let names = section(names)?;
    file.get(number(names, 24)?..)?.get(..number(names, 32)?)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with two sections: symbols, which name the other, and their names.
    fn library(names: &str) -> Vec<u8> {
        let mut file = vec![0; 64 * 3];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[40] = 64;
        file[60] = 2;
        file[64 + 4] = 2;
        file[64 + 40] = 1;
        file[128 + 24] = 192;
        file[128 + 32] = u8::try_from(names.len()).unwrap();
        file.extend(names.bytes());
        file
    }

    #[test]
    fn who_walks_is_told_from_who_starts_programs() {
        let walks = |names: &str| may_walk_environment(&library(names));
        assert!(walks("a\0_ZN73_$LT$std..env..VarsOs$u20$as$u20$Iterator$GT$4next17h0E\0"));
        assert!(walks("_RNvXs_NtCs1_3std3envNtB4_4VarsNtNtCs_4core8Iterator4next\0"));
        assert!(!walks("_ZN3std3env7vars_os17h0E\0_ZN4core3ptr44drop_in_place$LT$std..env..VarsOs$GT$17h0E\0"));
        assert!(!walks(""));
    }

    #[test]
    fn what_cannot_be_read_may_do_anything() {
        let file = library("abc");
        assert!(!may_walk_environment(&file));
        for end in 0..file.len() {
            assert!(may_walk_environment(&file[..end]), "cut at {end}");
        }
        let mut other = file;
        other[4] = 1;
        assert!(may_walk_environment(&other));
    }
}
