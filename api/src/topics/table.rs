//! A table of Markdown in columns, or row by row where the terminal is too narrow for that.

use super::inline::{Pieces, fill, width, words};
use crate::picture::text::{Tone, width_of};

/// Between two columns.
const GAP: usize = 2;
/// A column that is narrower than this is a ladder of single words, unless there is no more in it.
const LADDER: usize = 16;

/// A row's cells, each in words.
type Row = Vec<Vec<Pieces>>;

/// Returns a table's rows as lines; the rule below its head is left out.
pub(super) fn table(rows: &[&str], columns: usize, indent: &str) -> Vec<Pieces> {
    let of_words = |row: &&&str| cells(row).iter().map(|cell| words(cell)).collect();
    let mut rows: Vec<Row> = rows.iter().filter(|row| !is_rule(row)).map(|row| of_words(&row)).collect();
    if let Some(head) = rows.first_mut() {
        head.iter_mut().flatten().flatten().for_each(|(tone, _)| *tone = Tone::Strong);
    }
    let widths = widths(&rows, columns.saturating_sub(width_of(indent)));
    let lines = rows.iter().flat_map(|row| match &widths {
        Some(widths) => in_columns(row, widths, indent),
        None => one_below_the_other(row, columns, indent),
    });
    lines.collect()
}

/// Splits a row at its bars; one behind a backslash is part of a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|');
    let mut cells = vec![String::new()];
    let mut chars = row.chars().peekable();
    while let Some(char) = chars.next() {
        let cell = cells.last_mut().expect("there is one from the start");
        match char {
            '\\' if chars.next_if_eq(&'|').is_some() => cell.push('|'),
            '|' => cells.push(String::new()),
            char => cell.push(char),
        }
    }
    if cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn is_rule(row: &str) -> bool {
    row.chars().all(|char| matches!(char, '|' | '-' | ':' | ' '))
}

/// Returns how wide the columns are: the widest give way where there is too little room. None: there is none for all.
fn widths(rows: &[Row], room: usize) -> Option<Vec<usize>> {
    let count = rows.iter().map(Vec::len).max()?;
    let cells = |nth: usize| rows.iter().filter_map(move |row| row.get(nth));
    let whole = |cell: &Vec<Pieces>| cell.iter().map(|word| width(word) + 1).sum::<usize>().saturating_sub(1);
    let longest = |cell: &Vec<Pieces>| cell.iter().map(width).max().unwrap_or(0);
    let least: Vec<usize> =
        (0..count).map(|nth| cells(nth).map(longest).max().unwrap_or(0).max(LADDER)).collect();
    let mut widths: Vec<usize> = (0..count).map(|nth| cells(nth).map(whole).max().unwrap_or(0)).collect();
    while widths.iter().sum::<usize>() + GAP * (count - 1) > room {
        let gives_way = (0..count).filter(|nth| widths[*nth] > least[*nth]).max_by_key(|nth| widths[*nth])?;
        widths[gives_way] -= 1;
    }
    Some(widths)
}

fn in_columns(row: &Row, widths: &[usize], indent: &str) -> Vec<Pieces> {
    let mut lines = vec![Pieces::new()];
    let mut used = width_of(indent);
    for (cell, column) in row.iter().zip(widths) {
        for (below, part) in fill(cell.clone(), *column, "", "").into_iter().enumerate() {
            if below == lines.len() {
                lines.push(Pieces::new());
            }
            let gap = used.saturating_sub(width(&lines[below]));
            lines[below].push((Tone::Plain, " ".repeat(gap)));
            lines[below].extend(part);
        }
        used += column + GAP;
    }
    lines
}

fn one_below_the_other(row: &Row, columns: usize, indent: &str) -> Vec<Pieces> {
    let deeper = format!("{indent}  ");
    let cells = row.iter().filter(|words| !words.is_empty());
    let lines = cells.enumerate().flat_map(|(nth, words)| match nth {
        0 => fill(words.clone(), columns, indent, indent),
        _ => fill(words.clone(), columns, &deeper, &deeper),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::super::inline::line;
    use super::*;

    const ROWS: [&str; 4] =
        ["| key | does |", "|---|---|", r"| `a \| b` | one two three four five six seven |", "| c | short |"];

    fn plain(columns: usize) -> Vec<String> {
        table(&ROWS, columns, " ").into_iter().map(|pieces| line(pieces).paint(false)).collect()
    }

    #[test]
    fn the_widest_column_gives_way_and_breaks_its_lines() {
        let expected =
            [" key      does", " `a | b`  one two three four five", "          six seven", " c        short"];
        assert_eq!(plain(35), expected);
    }

    #[test]
    fn without_room_for_columns_a_row_is_told_cell_by_cell() {
        assert_eq!(plain(20)[..4], [" key", "   does", " `a | b`", "   one two three"]);
    }
}
