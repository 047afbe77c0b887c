//! Records the requests that the C library makes for programs that sort, classify characters or print times. The
//! observer does not see calls inside that library, so kache assumes these requests in every such program.

use std::path::Path;

use super::InputCollector;
use crate::fsx;
use crate::keys::NotStored;
use crate::model::Input;

/// Variables that set the language, the sort order, the classes of characters and the time zone.
const LOCALE_VARIABLES: &[&str] =
    &["LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_TIME", "LC_NUMERIC", "LC_MESSAGES", "LANG", "LANGUAGE", TZ];

const TZ: &str = "TZ";
/// The time zone if `TZ` is not set.
const LOCALTIME: &str = "/etc/localtime";

/// Programs that print times in the local time zone.
const TIME_PROGRAMS: &[&str] = &["git", "date", "ls", "diff", "tar", "stat", "find"];

/// Programs whose output depends on a language, on a sort order or on classes of characters. A program that
/// `environment` does not list makes all variables count anyway.
const TEXT_PROGRAMS: &[&str] = &[
    "sort", "uniq", "comm", "join", "tr", "wc", "grep", "egrep", "fgrep", "sed", "cut", "expr", "printf", "test",
    "cmp", "patch",
];

impl InputCollector<'_> {
    /// Records the requests of the C library for a program that a macro or a script started.
    pub(super) fn record_locale_requests(&mut self, program: &str) -> Result<(), NotStored> {
        let name = program.rsplit('/').next().unwrap_or(program);
        let prints_times = TIME_PROGRAMS.contains(&name);
        if !prints_times && !TEXT_PROGRAMS.contains(&name) {
            return Ok(());
        }
        let context = self.observed.context;
        for name in LOCALE_VARIABLES {
            let value = context.env.text(name).map(|value| context.roots.tokenise(&value));
            self.insert(name, Input::Env((*name).to_owned(), value));
        }
        let has_zone = context.env.text(TZ).is_some_and(|zone| !zone.is_empty());
        match prints_times && !has_zone {
            true if fsx::metadata(Path::new(LOCALTIME)).is_ok() => self.record_file(LOCALTIME, true),
            true => self.record_absent(LOCALTIME, true),
            false => Ok(()),
        }
    }
}
