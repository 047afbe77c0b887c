//! Which variables shells may have looked at: those that their commands name.
//!
//! A shell takes in all variables and looks them up by the names that stand in its commands. So a variable matters if its name
//! stands behind a `$` in a script that a shell of the compile opened, or in the command that one was given by `-c`. Commands that
//! list variables, or name them by the value of another one, make all variables count: `set` and `export` alone, `declare`,
//! `eval`, `${!name}`, arithmetic, a shell that reads its commands from a pipe. So does whatever else runs a language (make,
//! perl, python, awk, other shells), `env` or `printenv` without a command, and a file that is no text or is there no more.
//!
//! Not found out is a script that puts the word `eval` or `set` itself together from pieces.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::env;
use crate::fsx;
use crate::observe::{Seen, Shell};

/// What shells may have looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// The variables of these names.
    Names(BTreeSet<String>),
    /// Any.
    All,
}

/// Commands longer than this (in bytes) are not read.
const LONGEST: u64 = 1 << 20;

/// Words that list variables or make names of values.
const DYNAMIC: [&str; 6] = ["eval", "declare", "typeset", "compgen", "let", "mapfile"];

/// What the shells of a compile or run may have looked at.
pub(super) fn asked(seen: &Seen) -> Asked {
    let mut names = BTreeSet::new();
    let of_shells = seen.shells.iter().map(|shell| given(shell, &seen.commands));
    let of_files = seen.commands.iter().map(|path| match seen.written.contains_key(path) {
        true => None,
        false => read(Path::new(path)).as_deref().and_then(names_in),
    });
    for found in of_shells.chain(of_files) {
        match found {
            Some(found) => names.extend(found),
            None => return Asked::All,
        }
    }
    Asked::Names(names)
}

fn read(path: &Path) -> Option<String> {
    let metadata = fsx::metadata(path).ok()?;
    let is_short = metadata.is_file() && metadata.len() <= LONGEST;
    let text = String::from_utf8(is_short.then(|| fsx::read(path).ok())??).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// The names in what a shell was given as arguments. `None`: it may have read any.
fn given(shell: &Shell, files: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let arguments = shell.arguments.as_deref()?.get(1..)?;
    if shell.program.ends_with("/env") {
        return runs_program(arguments).then(BTreeSet::new);
    }
    let (mut rest, mut is_command) = (arguments.iter(), false);
    let operand = loop {
        let argument = rest.next()?;
        match argument.strip_prefix(['-', '+']) {
            Some("-") => break rest.next()?,
            // It is asked for its commands, or has a long option, which may take a file.
            Some(letters) if letters.is_empty() || letters.contains(['i', 's', '-']) => return None,
            Some(letters) => {
                is_command |= argument.starts_with('-') && letters.contains('c');
                letters.contains(['o', 'O']).then(|| rest.next());
            }
            None => break argument,
        }
    };
    let is_read = || files.iter().any(|file| Path::new(file).file_name() == Path::new(operand).file_name());
    match is_command {
        true => names_in(operand),
        false => is_read().then(BTreeSet::new),
    }
}

/// Whether `env` was told to start a program, and not to list all variables.
fn runs_program(arguments: &[String]) -> bool {
    arguments.iter().find(|argument| !argument.contains('=')).is_some_and(|argument| !argument.starts_with('-'))
}

/// The names of variables in commands of a shell. `None`: they may name any.
fn names_in(text: &str) -> Option<BTreeSet<String>> {
    let holds = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    // Arithmetic, names that are values, prompts, commands from a pipe.
    let is_dynamic_text = holds(&["((", "$[", "${!", "@P}", "/environ", "/dev/stdin", "/dev/fd/", "<("]);
    if is_dynamic_text || (holds(&["[["]) && holds(&["-eq", "-ne", "-lt", "-le", "-gt", "-ge"])) {
        return None;
    }
    if text.lines().filter(|line| !line.trim_start().starts_with('#')).any(is_dynamic) {
        return None;
    }
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('$') {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('{').map_or(rest, |rest| rest.strip_prefix('#').unwrap_or(rest));
        let (name, rest) = split_name(rest);
        names.extend((!name.is_empty()).then(|| name.to_owned()));
        // `${name[index]}` and `${name:offset}` are arithmetic.
        if text[at + 1..].starts_with('{') && has_arithmetic(rest) {
            return None;
        }
    }
    if text.contains('~') || words(text).any(|(_, word)| word == "cd") {
        names.extend([env::HOME, "CDPATH", "OLDPWD"].map(str::to_owned));
    }
    Some(names)
}

/// The name that a text begins with, and what follows it.
fn split_name(text: &str) -> (&str, &str) {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = text.bytes().take_while(is_of_name).count();
    match text.as_bytes().first() {
        Some(first) if !first.is_ascii_digit() => text.split_at(length),
        _ => ("", text),
    }
}

fn has_arithmetic(behind_name: &str) -> bool {
    let mut bytes = behind_name.bytes();
    match bytes.next() {
        Some(b'[') => !matches!(bytes.next(), Some(b'@' | b'*' | b'0'..=b'9')),
        Some(b':') => !matches!(bytes.next(), Some(b'-' | b'=' | b'+' | b'?' | b'0'..=b'9')),
        _ => false,
    }
}

/// Whether a line may list variables, or name one by the value of another.
fn is_dynamic(line: &str) -> bool {
    words(line).any(|(at, word)| {
        let before = line[..at].trim_end();
        let behind = line[at + word.len()..].trim_start();
        let next = behind.bytes().next();
        let begins = |others: &[u8]| next.is_some_and(|next| next.is_ascii_alphabetic() || others.contains(&next));
        match word {
            "set" => !begins(b"-+_./"),
            "export" | "readonly" | "local" => !begins(b"_"),
            // `[ -v name ]`
            "-v" => ["[", "[[", "test", "!"].iter().any(|test| before.ends_with(test)),
            _ => DYNAMIC.contains(&word),
        }
    })
}

/// The words of a line, and where they begin. Not those that are part of a path, an option or a variable.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + line[rest..].find(is_of_word)?;
        let length = line[start..].find(|letter| !is_of_word(letter)).unwrap_or(line.len() - start);
        rest = start + length;
        Some((start, &line[start..rest]))
    })
    .filter(move |(at, _)| !line[..*at].ends_with(['$', '{']) || line[..*at].ends_with(" {"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        names_in(text).map(|names| names.into_iter().collect())
    }

    #[test]
    fn a_script_knows_the_names_that_it_holds() {
        assert_eq!(names("#!/bin/sh\nset -e\nexec cc \"$@\"\n"), Some(vec![]));
        assert_eq!(names("echo $GITHUB_SHA ${A:-$B} ${#C} \"${D%.*}\" $1 $$"), Some(list("A B C D GITHUB_SHA")));
        assert_eq!(names("export PATH=/x:$PATH\n# use set\ncat <<E\n# $F\nE"), Some(list("F PATH")));
        assert_eq!(names("cd /tmp"), Some(list("CDPATH HOME OLDPWD")));
        assert_eq!(names("--set=x data-set /x/eval.sh $set ${eval} [ -n \"$X\" ]"), Some(list("X eval set")));
        assert_eq!(names("if [[ -z $A ]]; then command -v cc; fi"), Some(list("A")));
    }

    #[test]
    fn a_script_that_lists_or_makes_names_may_know_all() {
        for text in [
            "eval \"echo \\$CI_$x\"",
            "set",
            "set | grep CI",
            "(set) 2>&1",
            "set $x",
            "export",
            "export -p",
            "declare -x",
            "echo ${!name}",
            "echo ${!GITHUB_*}",
            "local -n ref=$1",
            "readonly GITHUB_SHA; readonly -p",
            "list=set; $list",
            ". /dev/stdin",
            "source <(cat x)",
            "cat /proc/self/environ",
            "echo $((x + 1))",
            "[[ x -eq 1 ]]",
            "[ -v \"$name\" ]",
            "echo ${a[x]}",
            "echo ${a:offset}",
            "{ set; }",
            "echo ${x@P}",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    #[test]
    fn commands_come_from_an_argument_or_a_file() {
        let of = |program: &str, arguments: &str| {
            let arguments = Some(arguments.split('|').map(str::to_owned).collect());
            given(
                &Shell { program: program.to_owned(), arguments, plugin: true },
                &BTreeSet::from(["/x/run".to_owned()]),
            )
            .map(|names| names.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(of("/bin/dash", "sh|-ec|echo $A|$B"), Some(list("A")));
        assert_eq!(of("/bin/dash", "sh|-e|/x/run|-x"), Some(vec![]));
        assert_eq!(of("/bin/bash", "bash|-o|pipefail|run"), Some(vec![]));
        for arguments in ["sh", "sh|-s|run", "sh|-", "sh|-i", "bash|--login|run", "sh|other", "sh|-c"] {
            assert_eq!(of("/bin/dash", arguments), None, "{arguments}");
        }
        assert_eq!(of("/usr/bin/env", "env|A=1|bash"), Some(vec![]));
        for arguments in ["env", "env|A=1", "env|-0", "env|-S|bash -e"] {
            assert_eq!(of("/usr/bin/env", arguments), None, "{arguments}");
        }
    }

    fn list(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }
}
