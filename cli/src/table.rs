//! Tables that people read and `awk` splits: columns three spaces apart, no lines.

use std::fmt::Write;

const GAP: usize = 3;

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    widths: Vec<usize>,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<T: ToString>(header: impl IntoIterator<Item = T>) -> Self {
        let header: Vec<String> = header.into_iter().map(|title| title.to_string()).collect();
        Self { widths: header.iter().map(|title| width(title)).collect(), header, rows: Vec::new() }
    }

    /// Adds a row; empty cells read `-`.
    pub fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| shown(&cell.to_string())).collect();
        for (known, cell) in self.widths.iter_mut().zip(&cells) {
            *known = (*known).max(width(cell));
        }
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole table, each cell passed through `paint`; no newline at the end.
    pub fn render(&self, paint: &dyn Fn(&str) -> String) -> String {
        std::iter::once(self.line(&self.header, &str::to_owned))
            .chain(self.rows.iter().map(|row| self.line(row, paint)))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Takes the rows out, leaving the widths: for tables that go on.
    pub fn take_lines(&mut self, paint: &dyn Fn(&str) -> String) -> Vec<String> {
        std::mem::take(&mut self.rows).iter().map(|row| self.line(row, paint)).collect()
    }

    fn line(&self, cells: &[String], paint: &dyn Fn(&str) -> String) -> String {
        let mut line = String::new();
        for (index, (cell, column)) in cells.iter().zip(&self.widths).enumerate() {
            let is_last = index + 1 == cells.len();
            let padding = if is_last { 0 } else { column.saturating_sub(width(cell)) + GAP };
            let _ = write!(line, "{}{:padding$}", paint(cell), "");
        }
        line
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A cell is one line.
fn shown(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() { "-".to_owned() } else { text.replace(['\n', '\t', '\r'], " ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "HEALTH", "NOTE"]);
        table.row(["web", "Healthy", ""]);
        table.row(["a-longer-name", "Down", "two\nlines"]);
        insta::assert_snapshot!(table.render(&str::to_owned), @r"
        NAME            HEALTH    NOTE
        web             Healthy   -
        a-longer-name   Down      two lines
        ");
    }
}
