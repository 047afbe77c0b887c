//! Examines the symbols of a library or program that rustc made.
//!
//! Only for 64-bit little-endian ELF. Any other file counts as one without symbols.

/// Type of the section that names functions (`SHT_SYMTAB`).
const SECTION_TYPE_SYMBOLS: u32 = 2;

/// Whether code walks through all environment variables, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvironmentWalk {
    /// The code does not.
    None,
    /// Only the `cc` crate does (since 1.11), to make a copy in which it looks up by name the variables that it would
    /// otherwise read from the environment.
    OfCc,
    /// The code does, or may.
    Any,
}

/// Determines from the symbols of a library or program whether its code walks through all environment variables. It
/// does if it has a function of std's `Vars` or `VarsOs`, other than the one that drops it. (Starting a program links
/// `env::vars_os` and drops its result, but does not walk through it. Measured on rustc 1.95, with both manglings.)
/// Without symbols, the result is [`EnvironmentWalk::Any`].
///
/// In a program that contains `cc`, other code that walks has additional symbols: a loop has an `IntoIterator`, and an
/// adapter has the type that it makes. So the result is [`EnvironmentWalk::OfCc`] only for unoptimised programs, which
/// have all of their symbols.
pub fn walk_of_environment(file: &[u8]) -> EnvironmentWalk {
    let Some(names) = symbol_names(file) else { return EnvironmentWalk::Any };
    let (mut walks, mut of_cc, mut of_another) = (false, false, false);
    for name in names.split(|byte| *byte == 0) {
        let holds = |part: &str| memchr::memmem::find(name, part.as_bytes()).is_some();
        let of_vars = holds("env..Vars") || (holds("3env") && (holds("4Vars") || holds("6VarsOs")));
        if !of_vars {
            continue;
        }
        let is_cc = holds("EnvSnapshot") && holds("build_env");
        let is_drop = holds("drop_in_place");
        // std's own function, which all code that walks calls.
        let is_next =
            (holds("VarsOs") && holds("Iterator") && !holds("IntoIterator")) && (holds("4next") || holds("9size_hint"));
        of_cc |= is_cc;
        walks |= is_cc || !is_drop;
        let is_adapter = holds("adapters");
        of_another |= !is_cc && (if is_drop { is_adapter } else { !is_next });
    }
    match (walks, of_cc, of_another) {
        (false, _, false) => EnvironmentWalk::None,
        (_, true, false) => EnvironmentWalk::OfCc,
        _ => EnvironmentWalk::Any,
    }
}

/// Returns the names of all symbols, each followed by a zero byte.
fn symbol_names(file: &[u8]) -> Option<&[u8]> {
    const SECTION_HEADER_BYTES: usize = 64;
    // Class 2: 64 bits; data 1: little-endian.
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let sections = number(file, 40)?;
    let section = |at: usize| {
        file.get(sections.checked_add(at.checked_mul(SECTION_HEADER_BYTES)?)?..)?.get(..SECTION_HEADER_BYTES)
    };
    let count = usize::from(u16::from_le_bytes(file.get(60..62)?.try_into().ok()?));
    let is_symbols = |at: &usize| section(*at).and_then(|section| word(section, 4)) == Some(SECTION_TYPE_SYMBOLS);
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

    /// Makes a file with two sections: symbols, which refer to the other section, and their names.
    fn library(names: &str) -> Vec<u8> {
        let mut file = vec![0; 64 * 3];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[40] = 64;
        file[60] = 2;
        file[64 + 4] = 2;
        file[64 + 40] = 1;
        file[128 + 24] = 192;
        file[160..162].copy_from_slice(&u16::try_from(names.len()).unwrap().to_le_bytes());
        file.extend(names.bytes());
        file
    }

    #[test]
    fn who_walks_is_told_from_who_starts_programs() {
        let walk = |names: &str| walk_of_environment(&library(names));
        assert_eq!(walk("a\0_ZN73_$LT$std..env..VarsOs$u20$as$u20$Iterator$GT$4next17h0E\0"), EnvironmentWalk::Any);
        assert_eq!(walk("_RNvXs_NtCs1_3std3envNtB4_4VarsNtNtCs_4core8Iterator4next\0"), EnvironmentWalk::Any);
        let starts = "_ZN3std3env7vars_os17h0E\0_ZN4core3ptr44drop_in_place$LT$std..env..VarsOs$GT$17h0E\0";
        assert_eq!((walk(starts), walk("")), (EnvironmentWalk::None, EnvironmentWalk::None));
    }

    #[test]
    fn the_copy_of_cc_is_told_from_other_walks() {
        let walk = |names: &str| walk_of_environment(&library(names));
        let next = "_RNvXs0_NtCs1_3std3envNtB5_6VarsOsNtNtNtNtCs_4core4iter6traits8iterator8Iterator4next\0";
        let cc =
            "_ZN4drop_in_place$LT$iter..adapters..map..Map$LT$std..env..VarsOs$C$cc..build_env..EnvSnapshot..capture\0";
        assert_eq!((walk(&format!("{next}{cc}")), walk(next)), (EnvironmentWalk::OfCc, EnvironmentWalk::Any));
        for other in [
            "_ZN63_$LT$std..env..VarsOs$u20$as$u20$core..iter..traits..collect..IntoIterator$GT$9into_iter17h0E",
            "_ZN4drop_in_place$LT$iter..adapters..filter..Filter$LT$std..env..VarsOs$C$build_script_build..main",
            "_RNvXs_NtCs1_3std3envNtB4_4VarsNtNtCs_4core8Iterator4next",
        ] {
            assert_eq!(walk(&format!("{next}{cc}{other}\0")), EnvironmentWalk::Any, "{other}");
        }
    }

    #[test]
    fn what_cannot_be_read_may_do_anything() {
        let file = library("abc");
        assert_eq!(walk_of_environment(&file), EnvironmentWalk::None);
        for end in 0..file.len() {
            assert_eq!(walk_of_environment(&file[..end]), EnvironmentWalk::Any, "cut at {end}");
        }
        let mut other = file;
        other[4] = 1;
        assert_eq!(walk_of_environment(&other), EnvironmentWalk::Any);
    }
}
