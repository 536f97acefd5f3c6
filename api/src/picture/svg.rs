//! A terminal as an SVG: what the real renderer writes, escapes and all, for pictures that a README can show.

use super::screen::text;
use super::text::{Line, width_of};

const COLUMN: f64 = 8.4;
const ROW: usize = 19;
const MARGIN: usize = 16;
/// The bar with the command above the lines.
const BAR: usize = 34;
const COLUMNS_MIN: usize = 80;

const BACKGROUND: &str = "#0d1117";
const FOREGROUND: &str = "#e6edf3";
const DIM: &str = "#8b949e";

/// How text looks, by the escapes before it.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    bold: bool,
    colour: Option<&'static str>,
}

/// Compares the picture of a terminal with the one in `examples/screenshots`.
#[track_caller]
pub(super) fn is(name: &str, command: &str, lines: &[Line]) {
    let drawn = svg(command, &text(lines, true));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/screenshots");
    let path = format!("{folder}/terminal-{name}.svg");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, &drawn).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(drawn == expected, "{path} shows something else; UPDATE_EXPECTED=1 draws it anew:\n{drawn}");
}

fn svg(command: &str, ansi: &str) -> String {
    let rows: Vec<Vec<(Look, String)>> = ansi.lines().map(pieces).collect();
    let columns = rows.iter().map(|row| row.iter().map(|(_, text)| width_of(text)).sum::<usize>()).max();
    let columns = columns.unwrap_or_default().max(COLUMNS_MIN);
    let width = (columns as f64 * COLUMN).ceil() as usize + 2 * MARGIN;
    let height = BAR + rows.len() * ROW + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" \
         font-size=\"14\">\n\
         <text x=\"{MARGIN}\" y=\"22\" fill=\"{DIM}\">$ {label}</text>\n",
        label = escaped(command)
    );
    for (nth, row) in rows.iter().enumerate() {
        let y = BAR + nth * ROW + 14;
        let mut column = 0;
        for (look, text) in row {
            let (weight, colour) =
                (if look.bold { " font-weight=\"bold\"" } else { "" }, look.colour.unwrap_or(FOREGROUND));
            for (before, run) in runs(text) {
                let x = MARGIN as f64 + (column + before) as f64 * COLUMN;
                // The length keeps columns in line whatever font is there.
                let length = width_of(run) as f64 * COLUMN;
                svg += &format!(
                    "<text x=\"{x:.1}\" y=\"{y}\" fill=\"{colour}\"{weight} textLength=\"{length:.1}\" \
                     lengthAdjust=\"spacingAndGlyphs\">{}</text>\n",
                    escaped(run)
                );
            }
            column += width_of(text);
        }
    }
    svg + "</g>\n</svg>\n"
}

/// Returns what stands between gaps, with the columns before it: browsers make one space of many.
fn runs(text: &str) -> Vec<(usize, &str)> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find(|char| char != ' ').map(|found| at + found) {
        let end = text[begin..].find("  ").map_or(text.len(), |found| begin + found);
        runs.push((width_of(&text[..begin]), text[begin..end].trim_end()));
        at = end;
    }
    runs
}

/// Splits a line where its look changes.
fn pieces(line: &str) -> Vec<(Look, String)> {
    let (mut look, mut pieces) = (Look::default(), Vec::new());
    for (nth, part) in line.split("\u{1b}[").enumerate() {
        let text = match part.split_once('m') {
            Some((codes, text)) if nth > 0 => {
                codes.split(';').for_each(|code| look = looked(look, code));
                text
            }
            _ => part,
        };
        if !text.is_empty() {
            pieces.push((look, text.to_owned()));
        }
    }
    pieces
}

fn looked(look: Look, code: &str) -> Look {
    match code {
        "1" => Look { bold: true, ..look },
        "2" => Look { colour: Some(DIM), ..look },
        "31" => Look { colour: Some("#ff7b72"), ..look },
        "32" => Look { colour: Some("#3fb950"), ..look },
        "33" => Look { colour: Some("#d29922"), ..look },
        "39" => Look { colour: None, ..look },
        "0" | "22" => Look::default(),
        other => panic!("the renderer writes an escape that is not drawn: {other}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
