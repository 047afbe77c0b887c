//! The output of all commands: data goes to stdout, messages go to stderr.

use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, presets};
use serde::Serialize;

use crate::fsx::terminal;

/// The printer of one command.
#[derive(Debug)]
pub(super) struct Printer {
    stdout: io::Stdout,
    stderr: io::Stderr,
    stdin: io::Stdin,
    /// Columns of the terminal. `None`: stdout is not a terminal, so lines are not wrapped.
    width: Option<u16>,
}

impl Printer {
    pub(super) fn new() -> Self {
        let (stdout, stderr, stdin) = (io::stdout(), io::stderr(), io::stdin());
        let width = terminal::columns(stdout.as_fd());
        Self { stdout, stderr, stdin, width }
    }

    /// Prints a line of data.
    pub(super) fn data(&self, line: impl Display) -> io::Result<()> {
        writeln!(self.stdout.lock(), "{line}")
    }

    /// Prints bytes as they are.
    pub(super) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Prints a value as JSON.
    pub(super) fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(self.data(serde_json::to_string_pretty(value)?)?)
    }

    /// Prints a table to stdout. On a terminal, the table is as wide as the terminal at most.
    pub(super) fn table(&self, table: &Table) -> io::Result<()> {
        table.lines(self.width).iter().try_for_each(|line| self.data(line))
    }

    /// Prints a message to stderr. Ignores errors, because a closed stderr is not a reason to stop.
    pub(super) fn message(&self, line: impl Display) {
        let _ = writeln!(self.stderr.lock(), "{line}");
    }

    /// Asks a yes-or-no question. `None`: stdin is not a terminal.
    pub(super) fn confirm(&self, question: impl Display) -> io::Result<Option<bool>> {
        if !self.stdin.is_terminal() {
            return Ok(None);
        }
        let mut stderr = self.stderr.lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        self.stdin.lock().read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
    }
}

/// The text with control characters escaped, so that a terminal does not act on them.
pub(super) fn plain(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Whether the cause of the error is that the reader of stdout closed the pipe.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_it = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_it))
}

/// A table with aligned columns.
#[derive(Debug)]
pub(super) struct Table {
    heading: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
    right: &'static [usize],
    indent: u16,
    wraps: bool,
}

impl Table {
    /// Creates a table. The columns in `right` are aligned to the right, for numbers.
    pub(super) fn new(right: &'static [usize]) -> Self {
        Self { heading: None, rows: Vec::new(), right, indent: 0, wraps: false }
    }

    /// Indents the table by two columns.
    pub(super) fn indented(self) -> Self {
        self.indented_by(2)
    }

    /// Indents the table by this many columns.
    pub(super) fn indented_by(self, columns: u16) -> Self {
        Self { indent: columns, ..self }
    }

    /// Wraps the last column if the terminal is narrow, for tables with sentences.
    pub(super) fn wrapping(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// Adds a heading, which names each column.
    pub(super) fn headed<const N: usize>(self, cells: [&str; N]) -> Self {
        Self { heading: Some(cells.map(str::to_owned).into()), ..self }
    }

    /// Adds a row. All rows must have the same number of cells.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Whether it has no rows. A heading does not count.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn lines(&self, width: Option<u16>) -> Vec<String> {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        for row in self.heading.iter().chain(&self.rows) {
            table.add_row(row);
        }
        let last = self.rows.first().map_or(0, Vec::len).saturating_sub(1);
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((if at == 0 { self.indent } else { 2 }, 0));
            if at < last {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if self.right.contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        match width.filter(|_| self.wraps) {
            Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[0]).indented().wrapping();
        table.row(["9".into(), "one two three".into()]);
        table.row(["10".into(), "four".into()]);
        table
    }

    #[test]
    fn numbers_stand_right_and_lines_have_no_tail() {
        assert_eq!(table().lines(None), ["   9  one two three", "  10  four"]);
    }

    #[test]
    fn a_terminal_gets_no_commands() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(plain("été"), "été");
    }

    #[test]
    fn a_narrow_terminal_wraps_the_last_column() {
        assert_eq!(table().lines(Some(14)), ["   9  one two", "      three", "  10  four"]);
    }
}
