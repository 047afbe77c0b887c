//! Finds the variables that shells may have read: those that their commands name.
//!
//! A shell reads the whole environment, but it looks variables up only by the names in its commands. So a variable is
//! an input if its name follows a `$` in a script that a shell opened, or in the command after `-c`. Some commands list
//! all variables, or use the value of one variable as the name of another: `set` and `export` without arguments,
//! `declare`, `eval`, `${!name}`, arithmetic, and commands that come through a pipe. With these, all variables are
//! inputs. All variables are also inputs if a compile starts another interpreter (make, perl, python, awk, another
//! shell), if it starts `env` or `printenv` without a command, or if a shell opened a file that is not text or has
//! since been removed.
//!
//! kache does not notice a script that builds the word `eval` or `set` itself from pieces.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::{Env, env};
use crate::fsx;
use crate::observe::{Seen, Shell};

/// The variables, the directory and the times that shells may have read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ShellReads {
    /// The names of the variables. `None` means any.
    pub(super) names: Option<BTreeSet<String>>,
    /// Whether they may have read the name of the working directory.
    pub(super) working_directory: bool,
    /// Whether they may have compared the times of files.
    pub(super) times: bool,
}

/// Files of commands longer than this, in bytes, are not read.
const MAX_COMMAND_FILE_BYTES: u64 = 1 << 20;

/// Words that list variables or use values as names.
const DYNAMIC_WORDS: [&str; 6] = ["eval", "declare", "typeset", "compgen", "let", "mapfile"];
/// Words that list variables unless a name follows.
const LISTING_WORDS: [&str; 4] = ["set", "export", "readonly", "local"];

/// Words that make a following `set` or the like English: messages say that a variable is not set.
const NEGATING_WORDS: [&str; 7] = ["not", "is", "be", "are", "was", "been", "must"];

/// Commands that print or use the name of the working directory.
const DIRECTORY_COMMANDS: [&str; 4] = ["pwd", "dirs", "pushd", "popd"];

/// The variable that contains the name of the working directory.
const PWD: &str = "PWD";

/// Returns what the shells of a compile or run may have read.
pub(super) fn reads_of_shells(seen: &Seen, vars: &Env) -> ShellReads {
    let of_shells = seen.shells.iter().map(|shell| command_source(shell, &seen.commands));
    let of_files = seen.commands.iter().map(|path| match seen.written.contains_key(path) {
        true => CommandSource::Unknown,
        false => read(Path::new(path)).map_or(CommandSource::Unknown, CommandSource::Commands),
    });
    let runs_bash = seen.shells.iter().any(|shell| shell.program.ends_with("/bash"));
    let of_environment =
        runs_bash.then(|| commands_of_environment(vars)).into_iter().flatten().map(CommandSource::Commands);
    let mut reads = ShellReads { names: Some(BTreeSet::new()), working_directory: false, times: false };
    for source in of_shells.chain(of_files).chain(of_environment) {
        let (names, working_directory, times) = match &source {
            CommandSource::Files => continue,
            CommandSource::Commands(text) => (names_in(text), names_working_directory(text), compares_times(text)),
            CommandSource::Unknown => (None, true, false),
        };
        reads.working_directory |= working_directory;
        reads.times |= times;
        reads.names = reads.names.zip(names).map(|(all, more)| all.into_iter().chain(more).collect());
    }
    reads
}

/// Returns the functions and the file that bash takes from the environment.
fn commands_of_environment(vars: &Env) -> Vec<String> {
    let all = vars.all();
    let holds_commands = |name: &str| name.starts_with("BASH_FUNC_") || name == "BASH_ENV";
    let held = all.iter().filter(|(name, _)| name.to_str().is_some_and(holds_commands));
    held.map(|(_, value)| value.to_string_lossy().into_owned()).collect()
}

/// Where the commands of a shell come from.
enum CommandSource {
    /// Its arguments, which contain these commands.
    Commands(String),
    /// Only the files that it opened.
    Files,
    /// Somewhere else: they are not known.
    Unknown,
}

fn read(path: &Path) -> Option<String> {
    let metadata = fsx::metadata(path).ok()?;
    let is_short = metadata.is_file() && metadata.len() <= MAX_COMMAND_FILE_BYTES;
    let text = String::from_utf8(is_short.then(|| fsx::read(path).ok())??).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// Finds out where the commands of a shell come from.
fn command_source(shell: &Shell, files: &BTreeSet<String>) -> CommandSource {
    let Some([_, arguments @ ..]) = shell.arguments.as_deref() else { return CommandSource::Unknown };
    // A script may run its arguments.
    let is_word = |argument: &String| DYNAMIC_WORDS.iter().chain(&LISTING_WORDS).any(|word| word == argument);
    if arguments.iter().any(is_word) {
        return CommandSource::Unknown;
    }
    if shell.program.ends_with("/env") {
        return if runs_program(arguments) { CommandSource::Files } else { CommandSource::Unknown };
    }
    let (mut rest, mut is_command) = (arguments.iter(), false);
    let operand = loop {
        let Some(argument) = rest.next() else { return CommandSource::Unknown };
        match argument.strip_prefix(['-', '+']) {
            Some("-") => break rest.next(),
            // The shell reads commands from its standard input, or has a long option, which may take a file.
            Some(letters) if letters.is_empty() || letters.contains(['i', 's', '-']) => return CommandSource::Unknown,
            Some(letters) => {
                is_command |= argument.starts_with('-') && letters.contains('c');
                letters.contains(['o', 'O']).then(|| rest.next());
            }
            None => break Some(argument),
        }
    };
    let is_read =
        |operand: &str| files.iter().any(|file| Path::new(file).file_name() == Path::new(operand).file_name());
    match operand {
        Some(operand) if is_command => CommandSource::Commands(operand.clone()),
        Some(operand) if is_read(operand) => CommandSource::Files,
        _ => CommandSource::Unknown,
    }
}

/// Whether `env` was told to start a program, and not to list all variables.
fn runs_program(arguments: &[String]) -> bool {
    arguments.iter().find(|argument| !argument.contains('=')).is_some_and(|argument| !argument.starts_with('-'))
}

/// Whether commands read the name of the working directory.
fn names_working_directory(text: &str) -> bool {
    text.contains(PWD) || text.contains("~+") || words(text).any(|(_, word)| DIRECTORY_COMMANDS.contains(&word))
}

/// Whether commands depend on which of two files is newer.
fn compares_times(text: &str) -> bool {
    words(text).any(|(_, word)| word == "-nt" || word == "-ot")
}

/// Returns the names of variables in shell commands. `None` if the commands may name any variable.
fn names_in(text: &str) -> Option<BTreeSet<String>> {
    let holds = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    // Arithmetic, values used as names, prompts, and commands from a pipe.
    let is_dynamic_text = holds(&["((", "$[", "${!", "@P}", "/environ", "/dev/stdin", "/dev/fd/", "<("]);
    if is_dynamic_text || (holds(&["[["]) && holds(&["-eq", "-ne", "-lt", "-le", "-gt", "-ge"])) || has_subscript(text)
    {
        return None;
    }
    let tests = holds(&["[ ", "[[", "test "]);
    let commands = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    if commands.into_iter().any(|line| is_dynamic(line, tests)) {
        return None;
    }
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices('$') {
        let (name, behind) = parameter(&text[at + 1..]);
        names.extend((!name.is_empty()).then(|| name.to_owned()));
        if behind.is_some_and(has_arithmetic) {
            return None;
        }
    }
    if text.contains('~') || words(text).any(|(_, word)| word == "cd") {
        names.extend([env::HOME, "CDPATH", "OLDPWD"].map(str::to_owned));
    }
    names.extend(names_working_directory(text).then(|| PWD.to_owned()));
    Some(names)
}

/// Returns the name of the variable after a `$`, which may be empty, and the rest of the parameter if it is in braces.
fn parameter(text: &str) -> (&str, Option<&str>) {
    let Some(inside) = text.strip_prefix('{') else { return (split_name(text).0, None) };
    let inside = inside.strip_prefix('#').unwrap_or(inside);
    let (name, behind) = split_name(inside);
    if !name.is_empty() {
        return (name, Some(behind));
    }
    // `$1`, `$@` and the like.
    let digits = inside.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let behind = if digits.len() < inside.len() { digits } else { inside.get(1..).unwrap_or_default() };
    ("", Some(behind))
}

/// Splits a text after the name that it begins with, which may be empty.
fn split_name(text: &str) -> (&str, &str) {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = text.bytes().take_while(is_of_name).count();
    match text.as_bytes().first() {
        Some(first) if !first.is_ascii_digit() => text.split_at(length),
        _ => ("", text),
    }
}

/// Whether `${name[index]}` or `${name:offset:length}` contains more than numbers. `behind` is the text after the name.
fn has_arithmetic(behind: &str) -> bool {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b" :-".contains(&byte));
    if let Some(rest) = behind.strip_prefix('[') {
        let (index, rest) = rest.split_once(']').unwrap_or((rest, ""));
        return !(is_plain(index) || index == "@" || index == "*") || has_arithmetic(rest);
    }
    let Some(rest) = behind.strip_prefix(':') else { return false };
    !rest.starts_with(['-', '=', '+', '?']) && !is_plain(rest.split('}').next().unwrap_or(rest))
}

/// Whether `name[index]` or `[index]=` has a name as its index. Ranges of letters are patterns.
fn has_subscript(text: &str) -> bool {
    text.match_indices('[').any(|(at, _)| {
        let is_behind_name = text[..at].ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        let (index, behind) = text[at + 1..].split_once(']').unwrap_or_default();
        let names = index.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        names && index.as_bytes().get(1) != Some(&b'-') && (is_behind_name || behind.starts_with('='))
    })
}

/// Whether a line may list variables, or name one by the value of another. `tests`: whether the commands contain a test
/// (`[`).
fn is_dynamic(line: &str, tests: bool) -> bool {
    words(line).any(|(at, word)| {
        let before = line[..at].trim_end();
        let behind = line[at + word.len()..].trim_start();
        let next = behind.bytes().next();
        let begins = |others: &[u8]| next.is_some_and(|next| next.is_ascii_alphabetic() || others.contains(&next));
        let last = before.rsplit(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
        let is_english = || before.len() < at && NEGATING_WORDS.contains(&last);
        match word {
            "set" => !begins(b"-+_./") && !is_english(),
            "export" | "readonly" | "local" => !begins(b"_") && !is_english(),
            // `[ -v name ]`
            "-v" | "-R" => tests && !before.ends_with("command"),
            "trap" => behind.trim_start_matches('"').starts_with('$'),
            _ => DYNAMIC_WORDS.contains(&word) && !is_english(),
        }
    })
}

/// Returns the words of a line and their positions, without those that are part of a path, an option or a variable.
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
        assert_eq!(names(": \"${A:?not set}\"; echo \"$B is set\"; ls lib[a-z]*"), Some(list("A B")));
        assert_eq!(names("echo ${a[@]} ${a[0]} ${a:1:3} ${1:2} ${a: -1} ${@:2}"), Some(list("a")));
        assert_eq!(names("pwd"), Some(list("PWD")));
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
            "echo ${a:0:len}",
            "echo ${1:len}",
            "echo ${@:x}",
            "a[x]=1",
            "a=([x]=1)",
            "[[ -n $HOME && -v CI ]]",
            "[ -n \"$HOME\" -a -v CI ]",
            "trap \"$cmd\" EXIT",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    #[test]
    fn commands_come_from_an_argument_or_a_file() {
        let of = |program: &str, arguments: &str| {
            let arguments = Some(arguments.split('|').map(str::to_owned).collect());
            let shell = Shell { program: program.to_owned(), arguments, plugin: true };
            match command_source(&shell, &BTreeSet::from(["/x/run".to_owned()])) {
                CommandSource::Commands(text) => Some(text),
                CommandSource::Files => Some("nothing".into()),
                CommandSource::Unknown => None,
            }
        };
        assert_eq!(of("/bin/dash", "sh|-ec|echo $A|$B").as_deref(), Some("echo $A"));
        assert_eq!(of("/bin/dash", "sh|-e|/x/run|-x").as_deref(), Some("nothing"));
        assert_eq!(of("/bin/bash", "bash|-o|pipefail|run").as_deref(), Some("nothing"));
        for arguments in ["sh", "sh|-s|run", "sh|-", "sh|-i", "bash|--login|run", "sh|other", "sh|-c", "sh|run|set"] {
            assert_eq!(of("/bin/dash", arguments), None, "{arguments}");
        }
        assert_eq!(of("/usr/bin/env", "env|A=1|bash").as_deref(), Some("nothing"));
        for arguments in ["env", "env|A=1", "env|-0", "env|-S|bash -e"] {
            assert_eq!(of("/usr/bin/env", arguments), None, "{arguments}");
        }
    }

    #[test]
    fn times_and_the_working_directory_are_read_by_words() {
        assert!(compares_times("[ a -nt b ] && x") && compares_times("test \"$a\" -ot b"));
        assert!(!compares_times("cc -ntx a-nt"));
        assert!(
            names_working_directory("d=$(pwd)")
                && names_working_directory("${PWD##*/}")
                && names_working_directory("ls ~+")
        );
        assert!(!names_working_directory("cd /x && cc $PW"));
    }

    #[test]
    fn functions_from_the_environment_are_commands() {
        let vars = Env::of([("BASH_FUNC_f%%", "() { echo $MODE; }"), ("OTHER", "$X")]);
        let shell = |program: &str| {
            let arguments = Some(list("x -c f"));
            let shells = vec![Shell { program: program.to_owned(), arguments, plugin: true }];
            reads_of_shells(&Seen { shells, ..Seen::default() }, &vars).names
        };
        assert_eq!(shell("/bin/bash"), Some(BTreeSet::from(["MODE".to_owned()])));
        assert_eq!(shell("/bin/dash"), Some(BTreeSet::new()));
    }

    fn list(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }
}
