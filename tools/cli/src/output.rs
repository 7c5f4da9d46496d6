//! What commands print: data to standard output, as text or as JSON; everything else to standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{CellAlignment, ColumnConstraint, Table, Width, presets};
use serde::Serialize;

use crate::exit::{Failure, Run, Told};
use crate::human;

/// The version of the JSON schema; it rises when a field changes its meaning or goes away.
pub(crate) const SCHEMA: u32 = 1;

/// Columns of a terminal whose width is not known.
const COLUMNS: usize = 80;

/// The data of a command.
#[derive(Serialize)]
struct Document<'a, T> {
    reelvault: u32,
    command: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// An error in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody {
    kind: &'static str,
    exit: u8,
    message: String,
    help: String,
}

impl From<&Told> for ErrorBody {
    fn from(told: &Told) -> Self {
        Self {
            kind: told.exit.name(),
            exit: told.exit as u8,
            message: told.what.clone(),
            help: told.help.clone(),
        }
    }
}

/// Standard output.
pub(crate) struct Out {
    json: bool,
    command: &'static str,
    begun: bool,
    to: BufWriter<Stdout>,
}

impl Out {
    pub(crate) fn new(json: bool, command: &'static str) -> Self {
        Self { json, command, begun: false, to: BufWriter::new(io::stdout()) }
    }

    /// Whether JSON is asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether something has been printed.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The command that prints.
    pub(crate) fn command(&self) -> &'static str {
        self.command
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Run<()> {
        self.begun = true;
        writeln!(self.to, "{text}").map_err(|e| Failure::output(&e))
    }

    /// Prints the one JSON document of a command.
    pub(crate) fn document<T: Serialize>(&mut self, body: &T) -> Run<()> {
        let document = Document { reelvault: SCHEMA, command: self.command, body };
        let text = to_json(&document)?;
        self.line(text)
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self) -> &mut dyn Write {
        self.begun = true;
        &mut self.to
    }

    /// Prints pairs of a name and a value, the values below each other.
    pub(crate) fn pairs<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Run<()> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        pairs.iter().try_for_each(|(name, value)| self.line(format_args!("{name:width$}  {value}")))
    }

    /// Makes sure that everything printed is out.
    pub(crate) fn flush(&mut self) -> Run<()> {
        self.to.flush().map_err(|e| Failure::output(&e))
    }
}

/// A value as JSON on one line.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Run<String> {
    serde_json::to_string(value).map_err(|e| Failure::io("writing JSON", &io::Error::other(e)))
}

/// A column of a table.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Numbers stand to the right.
    pub(crate) right: bool,
    /// Where the table is wider than the terminal, long texts of this column are shortened.
    pub(crate) shorten: bool,
}

/// The lines of a plain table. `widths` keeps the columns where they are from one page to the next.
pub(crate) fn table(
    columns: &[Column],
    mut rows: Vec<Vec<String>>,
    widths: &mut Vec<usize>,
    heading: bool,
) -> String {
    widths.resize(columns.len(), 0);
    for (i, column) in columns.iter().enumerate() {
        let longest = rows.iter().map(|row| chars(&row[i])).max().unwrap_or(0);
        widths[i] = widths[i].max(longest).max(chars(column.title));
    }
    if let Some(columns_max) = terminal_columns() {
        shorten(columns, &mut rows, widths, columns_max);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if heading {
        table.set_header(columns.iter().map(|c| c.title));
    }
    table.add_rows(rows);
    for (i, column) in columns.iter().enumerate() {
        if let Some(cells) = table.column_mut(i) {
            let gap = gap_after(columns, i);
            cells.set_padding((0, gap as u16));
            let width = u16::try_from(widths[i] + gap).unwrap_or(u16::MAX);
            cells.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            if column.right {
                cells.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Columns between one column of a table and the next.
fn gap_after(columns: &[Column], i: usize) -> usize {
    columns.get(i + 1).map_or(0, |next| if next.right { 1 } else { 2 })
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Shortens the texts of the columns that allow it until the table fits.
fn shorten(columns: &[Column], rows: &mut [Vec<String>], widths: &mut [usize], columns_max: usize) {
    let gaps: usize = (0..columns.len()).map(|i| gap_after(columns, i)).sum();
    loop {
        let total = widths.iter().sum::<usize>() + gaps;
        let able = |i: &usize| columns[*i].shorten && widths[*i] > chars(columns[*i].title).max(9);
        // The last of them gives way first: ids stand before what is less often wanted.
        let Some(last) = (0..columns.len()).rfind(able).filter(|_| total > columns_max) else {
            break;
        };
        widths[last] -= 1;
    }
    for row in rows {
        for (cell, (column, width)) in row.iter_mut().zip(columns.iter().zip(&*widths)) {
            if column.shorten && chars(cell) > *width {
                *cell = cell.chars().take(width - 1).chain(['…']).collect();
            }
        }
    }
}

/// The width of the terminal that standard output is; `None` if it is none, and lines may be of any length.
fn terminal_columns() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size();
    Some(size.map_or(COLUMNS, |(width, _)| usize::from(width.0)))
}

/// Tells something that is no data.
pub(crate) fn note(text: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(io::stderr(), "reelvault: {text}");
}

/// Tells of a failure: what happened, and below it what to do.
pub(crate) fn complain(told: &Told) {
    let mut text = format!("reelvault: {}\n", told.what);
    for line in human::wrap(&told.help, COLUMNS - 2) {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// What the kind of a session is called.
pub(crate) fn kind_name(kind: reelvault::Kind) -> &'static str {
    match kind {
        reelvault::Kind::Replay => "replay",
        reelvault::Kind::Chat => "chat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_table_is_shortened_where_it_may_be() {
        let columns = [
            Column { title: "start", right: false, shorten: false },
            Column { title: "id", right: false, shorten: true },
        ];
        let mut rows = vec![vec!["2026-11-22".to_owned(), "x".repeat(40)]];
        let mut widths = vec![10, 40];
        shorten(&columns, &mut rows, &mut widths, 30);
        assert_eq!(widths, [10, 18]);
        assert_eq!(rows[0][1].chars().count(), 18);
        assert!(rows[0][1].ends_with('…'));
    }
}
