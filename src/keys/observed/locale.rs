//! Records the requests that the C library makes for programs that sort, classify characters or print times. The
//! observer does not see calls inside that library, so kache assumes these requests in every such program.

use std::path::Path;

use super::{Collector, NotStored};
use crate::fsx;
use crate::model::Input;

/// Variables that set the language, the sort order, the classes of characters and the time zone.
const ASKED: &[&str] =
    &["LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_TIME", "LC_NUMERIC", "LC_MESSAGES", "LANG", "LANGUAGE", TZ];

const TZ: &str = "TZ";
/// The time zone if `TZ` is not set.
const LOCALTIME: &str = "/etc/localtime";

/// Programs that print times in the local time zone.
const OF_TIMES: &[&str] = &["git", "date", "ls", "diff", "tar", "stat", "find"];

/// Programs whose output depends on a language, on a sort order or on classes of characters. A program that
/// `environment` does not list makes all variables count anyway.
const OF_TEXTS: &[&str] = &[
    "sort", "uniq", "comm", "join", "tr", "wc", "grep", "egrep", "fgrep", "sed", "cut", "expr", "printf", "test",
    "cmp", "patch",
];

impl Collector<'_> {
    /// Records the requests of the C library for a program that a macro or a script started.
    pub(super) fn asked_by_c_library(&mut self, program: &str) -> Result<(), NotStored> {
        let name = program.rsplit('/').next().unwrap_or(program);
        let prints_times = OF_TIMES.contains(&name);
        if !prints_times && !OF_TEXTS.contains(&name) {
            return Ok(());
        }
        let context = self.known.context;
        for name in ASKED {
            let value = context.env.text(name).map(|value| context.roots.tokenise(&value));
            self.insert("env", name, Input::Env((*name).to_owned(), value));
        }
        let has_zone = context.env.text(TZ).is_some_and(|zone| !zone.is_empty());
        match prints_times && !has_zone {
            true if fsx::metadata(Path::new(LOCALTIME)).is_ok() => self.file(LOCALTIME, true),
            true => self.absent(LOCALTIME, true),
            false => Ok(()),
        }
    }
}
