//! Aligned columns.

use super::text;

/// Between two columns.
const GAP: &str = "  ";

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    limit: usize,
}

impl Column {
    /// A column of text, cut at `limit` columns of the terminal.
    pub(crate) const fn text(title: &'static str, limit: usize) -> Self {
        Self { title, right: false, limit }
    }

    /// A column of numbers.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, right: true, limit: 24 }
    }
}

/// A table. Whatever is put into it, each row takes one line.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [&str; N]) {
        let mut limits = self.columns.iter().map(|column| column.limit);
        self.rows.push(cells.map(|cell| text::cell(cell, limits.next().unwrap_or(0))));
    }

    /// The table with its titles, a line break at the end of each line.
    pub(crate) fn render(&self) -> String {
        let titles = self.columns.map(|column| column.title.to_owned());
        let lines = || std::iter::once(&titles).chain(&self.rows);
        let mut widths = [0; N];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = text::width(cell).max(*width);
            }
        }
        lines().map(|line| self.line(line, &widths)).collect()
    }

    fn line(&self, cells: &[String; N], widths: &[usize; N]) -> String {
        let mut line = String::new();
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            let padding = " ".repeat(width - text::width(cell));
            let (padding, cell) = (padding.as_str(), cell.as_str());
            let parts = if column.right { [padding, cell] } else { [cell, padding] };
            line.extend(parts);
            line.push_str(GAP);
        }
        format!("{}\n", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new([Column::text("NAME", 10), Column::number("COUNT")]);
        table.row(["web", "7"]);
        table.row(["東京", "12345678"]);
        table.row(["bad\nname\x1b[0m", "0"]);
        table.row(["a-very-long-name", ""]);
        let expected = "\
NAME           COUNT
web                7
東京        12345678
bad\\nname…         0
a-very-lo…
";
        assert_eq!(table.render(), expected);
    }
}
