//! What the C library asks on its own account for programs that sort, classify characters or print times. It calls itself
//! past the observer, so it is taken for asked wherever such a program was started.

use std::path::Path;

use super::{Collector, NotStored};
use crate::fsx;
use crate::model::Input;

/// Variables that say which language, order, characters and time zone there are.
const ASKED: &[&str] =
    &["LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_TIME", "LC_NUMERIC", "LC_MESSAGES", "LANG", "LANGUAGE", TZ];

const TZ: &str = "TZ";
/// The time zone without that variable.
const LOCALTIME: &str = "/etc/localtime";

/// Programs that print times as they are here.
const OF_TIMES: &[&str] = &["git", "date", "ls", "diff", "tar", "stat", "find"];

/// Programs whose output is in a language, in an order, or goes by characters. Whatever `environment` does not know makes all
/// variables count anyway.
const OF_TEXTS: &[&str] = &[
    "sort", "uniq", "comm", "join", "tr", "wc", "grep", "egrep", "fgrep", "sed", "cut", "expr", "printf", "test",
    "cmp", "patch",
];

impl Collector<'_> {
    /// What the C library asks for a program that a macro or a script started.
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
