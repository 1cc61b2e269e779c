//! Rows of aligned columns, at most as wide as the terminal: first whole columns are dropped, then the middle of the
//! ids.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: &str = "  ";

/// Columns are dropped before a cut text becomes narrower than this.
const LEAST_CUT: usize = 24;

/// One column.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Numbers are aligned on the right.
    pub(crate) is_number: bool,
    /// If the terminal is too narrow, the column with the highest rank is dropped first. Those of rank 0 stay.
    pub(crate) rank: u8,
}

impl Column {
    pub(crate) const fn text(title: &'static str, rank: u8) -> Self {
        Column { title, is_number: false, rank }
    }

    pub(crate) const fn number(title: &'static str, rank: u8) -> Self {
        Column { title, is_number: true, rank }
    }
}

/// The width of the terminal on standard output. `None` if that is not a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into())
}

/// The lines of a table, with its header. `cut` is the number of the column whose texts lose their middle if `width`
/// is too small. The rows are made twice, once to measure them: so a long table need not be in memory.
pub(crate) fn lines(
    columns: &[Column],
    rows: impl Iterator<Item = Vec<String>> + Clone,
    cut: usize,
    width: Option<usize>,
) -> impl Iterator<Item = String> {
    let header: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let has_header = header.iter().any(|title| !title.is_empty());
    let mut widths: Vec<usize> = columns.iter().map(|column| column.title.width()).collect();
    for row in rows.clone() {
        widths.iter_mut().zip(&row).for_each(|(width, cell)| *width = cell.width().max(*width));
    }
    let mut layout: Vec<(usize, usize)> = widths.into_iter().enumerate().collect();
    if let Some(width) = width {
        fit(&mut layout, columns, cut, width);
    }
    let numbers: Vec<bool> = columns.iter().map(|column| column.is_number).collect();
    let line = move |row: &[String]| {
        let mut line = String::new();
        for &(number, width) in &layout {
            let Some(cell) = row.get(number) else { continue };
            let cell = cut_in_the_middle(cell, width);
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            let is_number = numbers.get(number).copied().unwrap_or(false);
            if !line.is_empty() {
                line.push_str(GAP);
            }
            match is_number {
                true => line.extend([padding, cell]),
                false => line.extend([cell, padding]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    has_header.then_some(header).into_iter().chain(rows).map(move |row| line(&row))
}

/// Drops columns, and then the middle of the texts in `cut`, until a line is no wider than `width`.
fn fit(layout: &mut Vec<(usize, usize)>, columns: &[Column], cut: usize, width: usize) {
    loop {
        let least = |&(number, width): &(usize, usize)| if number == cut { width.min(LEAST_CUT) } else { width };
        let gaps = GAP.len() * layout.len().saturating_sub(1);
        let needed = layout.iter().map(least).sum::<usize>() + gaps;
        let rank = |&(number, _): &(usize, usize)| columns.get(number).map_or(0, |column| column.rank);
        let worst = layout.iter().map(rank).max().unwrap_or(0);
        if needed > width && worst > 0 {
            layout.retain(|column| rank(column) < worst);
            continue;
        }
        let others: usize = layout.iter().filter(|(number, _)| *number != cut).map(|(_, width)| width).sum();
        let left = width.saturating_sub(others + gaps).max(1);
        for (number, width) in layout {
            if *number == cut {
                *width = left.min(*width);
            }
        }
        return;
    }
}

/// The text. If it is wider than `width`, an ellipsis replaces its middle, because the ends of an id distinguish it.
pub(crate) fn cut_in_the_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    let (head, tail) = (kept / 2, kept - kept / 2);
    let take = |characters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        let fits = characters.take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        });
        fits.collect::<String>()
    };
    let front = take(&mut text.chars(), head);
    let back: String = take(&mut text.chars().rev(), tail).chars().rev().collect();
    format!("{front}…{back}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::text("ID", 0), Column::number("SIZE", 0), Column::text("STATE", 2), Column::text("KIND", 1)];

    fn rows() -> Vec<Vec<String>> {
        let row = |id: &str, size: &str| [id, size, "active", "file"].map(str::to_owned).to_vec();
        vec![row("hf:organisation/repository-with-a-long-name", "12.0 GB"), row("short", "1 B")]
    }

    #[track_caller]
    fn check(width: Option<usize>, expected: &[&str]) {
        let lines: Vec<String> = lines(&COLUMNS, rows().into_iter(), 0, width).collect();
        assert_eq!(lines, expected);
        assert!(lines.iter().all(|line| width.is_none_or(|width| line.width() <= width)), "{lines:?}");
    }

    #[test]
    fn columns_go_before_ids_are_cut() {
        let whole = [
            "ID                                              SIZE  STATE   KIND",
            "hf:organisation/repository-with-a-long-name  12.0 GB  active  file",
            "short                                            1 B  active  file",
        ];
        check(None, &whole);
        check(Some(66), &whole);
        check(
            Some(50),
            &[
                "ID                              SIZE  STATE   KIND",
                "hf:organisati…h-a-long-name  12.0 GB  active  file",
                "short                            1 B  active  file",
            ],
        );
        check(
            Some(42),
            &[
                "ID                              SIZE  KIND",
                "hf:organisati…h-a-long-name  12.0 GB  file",
                "short                            1 B  file",
            ],
        );
        check(
            Some(34),
            &[
                "ID                            SIZE",
                "hf:organisat…-a-long-name  12.0 GB",
                "short                          1 B",
            ],
        );
    }

    #[test]
    fn the_ends_of_a_text_stay() {
        for (width, expected) in [(0, ""), (1, "…"), (2, "…j"), (5, "ab…ij"), (10, "abcdefghij"), (99, "abcdefghij")]
        {
            assert_eq!(cut_in_the_middle("abcdefghij", width), expected);
        }
        // Each of these characters takes two columns.
        assert_eq!(cut_in_the_middle("日本語日本語", 8), "日…本語".to_owned());
    }
}
