//! A page of Markdown as lines for a terminal: as much of Markdown as the pages use, and no more.

use super::inline::{Pieces, fill, line as as_line, words};
use super::table::table;
use crate::picture::text::{Line, Tone, width_of};

/// Before everything but headings.
const BODY: &str = "  ";
/// Before code, which is neither broken nor cut: it is there to be copied.
pub(super) const CODE: &str = "      ";

/// Returns a page in lines of at most so many columns. Code keeps its own.
pub fn render(markdown: &str, columns: usize) -> Vec<Line> {
    let mut page = Page { columns, lines: Vec::new(), in_list: false };
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        let kind = kind_of(line);
        match kind {
            Kind::Fence => page.code(lines.by_ref().take_while(|line| kind_of(line) != Kind::Fence)),
            // A comment is for who keeps the pages: what a test does with the block below it.
            Kind::Empty | Kind::Comment | Kind::Picture => {}
            Kind::Heading => page.heading(line),
            Kind::Row => {
                let mut rows = vec![line];
                while let Some(row) = lines.next_if(|line| kind_of(line) == Kind::Row) {
                    rows.push(row);
                }
                page.block(table(&rows, columns, BODY));
            }
            Kind::Item | Kind::Text => {
                let mut text = line.trim().to_owned();
                while let Some(more) = lines.next_if(|line| kind_of(line) == Kind::Text) {
                    text = format!("{text} {}", more.trim());
                }
                page.text(kind, line.len() - line.trim_start().len(), &text);
            }
        }
    }
    page.lines
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heading,
    Fence,
    Row,
    Item,
    Comment,
    Picture,
    Empty,
    Text,
}

fn kind_of(line: &str) -> Kind {
    let text = line.trim_start();
    let is_numbered = || text.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    match text {
        "" => Kind::Empty,
        text if text.starts_with("```") => Kind::Fence,
        text if text.starts_with('#') => Kind::Heading,
        text if text.starts_with('|') => Kind::Row,
        text if text.starts_with("<!--") => Kind::Comment,
        text if text.starts_with("![") => Kind::Picture,
        text if text.starts_with("- ") || is_numbered() => Kind::Item,
        _ => Kind::Text,
    }
}

struct Page {
    columns: usize,
    lines: Vec<Line>,
    in_list: bool,
}

impl Page {
    /// Adds a block, a line apart from the one before.
    fn block(&mut self, lines: impl IntoIterator<Item = Pieces>) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        self.lines.extend(lines.into_iter().map(as_line));
        self.in_list = false;
    }

    fn heading(&mut self, line: &str) {
        let strong = |word: Pieces| word.into_iter().map(|(_, text)| (Tone::Strong, text)).collect();
        let words = words(line.trim_start_matches('#').trim()).into_iter().map(strong).collect();
        self.block(fill(words, self.columns, "", ""));
    }

    fn code<'t>(&mut self, code: impl Iterator<Item = &'t str>) {
        self.block(code.map(|line| vec![(Tone::Plain, format!("{CODE}{line}"))]));
    }

    fn text(&mut self, kind: Kind, depth: usize, text: &str) {
        if kind != Kind::Item {
            self.block(fill(words(text), self.columns, BODY, BODY));
            return;
        }
        let (mark, text) = text.split_once(' ').unwrap_or((text, ""));
        let mark = if mark == "-" { "•" } else { mark };
        let first = format!("{BODY}{}{mark} ", " ".repeat(depth));
        let item = fill(words(text), self.columns, &first, &" ".repeat(width_of(&first)));
        // The items of a list stand close together.
        match self.in_list {
            true => self.lines.extend(item.into_iter().map(as_line)),
            false => self.block(item),
        }
        self.in_list = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page

Words that are
broken anew.

<!-- run: nothing of this is shown -->
```sh
landfall run   # as it is, however long the line may be
```

- one
  and more of it
- two

| key | does |
|---|---|
| `a` | this |
";

    const SHOWN: &str = "\
A page

  Words that are broken
  anew.

      landfall run   # as it is, however long the line may be

  • one and more of it
  • two

  key  does
  `a`  this";

    #[test]
    fn a_page_has_indented_bodies_whole_code_close_lists_and_columns() {
        let lines = render(PAGE, 24);
        let shown: Vec<_> = lines.iter().map(|line| line.paint(false)).collect();
        assert_eq!(shown.join("\n"), SHOWN);
    }

    #[test]
    fn without_colour_there_is_not_one_escape_and_with_it_headings_are_bold() {
        let shown = |colour| render(PAGE, 40).iter().map(|line| line.paint(colour)).collect::<String>();
        assert!(!shown(false).contains('\u{1b}'));
        assert!(shown(true).contains("\u{1b}[1mA"));
    }
}
