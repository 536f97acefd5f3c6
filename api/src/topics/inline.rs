//! A line of Markdown as pieces of different tone: code, emphasis, links.

use crate::picture::text::{Line, Tone, width_of};

/// Text in pieces of different tone: a word, which is never broken, or a line of them.
pub(super) type Pieces = Vec<(Tone, String)>;

/// Returns the words of a text. A link keeps its address where that leads out of these pages.
pub(super) fn words(text: &str) -> Vec<Pieces> {
    let mut words: Vec<Pieces> = vec![Pieces::new()];
    for (tone, piece) in pieces(text) {
        for (nth, part) in piece.split(' ').enumerate() {
            if nth > 0 {
                words.push(Pieces::new());
            }
            if let Some(word) = words.last_mut().filter(|_| !part.is_empty()) {
                word.push((tone, part.to_owned()));
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns how many columns it takes.
pub(super) fn width(pieces: &Pieces) -> usize {
    pieces.iter().map(|(_, text)| width_of(text)).sum()
}

/// Fills lines with words: the first one behind `first`, the others behind `others`.
pub(super) fn fill(words: Vec<Pieces>, columns: usize, first: &str, others: &str) -> Vec<Pieces> {
    let mut lines = Vec::new();
    let mut line = vec![(Tone::Plain, first.to_owned())];
    for word in words {
        let is_empty = line.len() == 1;
        if !is_empty && width(&line) + 1 + width(&word) > columns {
            lines.push(std::mem::replace(&mut line, vec![(Tone::Plain, others.to_owned())]));
        } else if !is_empty {
            line.push((Tone::Plain, " ".into()));
        }
        line.extend(word);
    }
    lines.push(line);
    lines
}

/// Returns a line as the terminal gets it.
pub(super) fn line(pieces: Pieces) -> Line {
    pieces.into_iter().fold(Line::default(), |line, (tone, text)| line.and(tone, text))
}

fn pieces(text: &str) -> Pieces {
    let mut pieces = Vec::new();
    let mut tone = Tone::Plain;
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[', '\\']) {
        let (before, here) = rest.split_at(at);
        pieces.push((tone, before.to_owned()));
        rest = here;
        if let Some((code, after)) = code(rest) {
            // The marks stay: without colour they are all that tells code from words.
            pieces.push((Tone::Strong, format!("`{code}`")));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            tone = if tone == Tone::Plain { Tone::Strong } else { Tone::Plain };
            rest = after;
        } else if let Some((shown, address, after)) = link(rest) {
            pieces.extend(self::pieces(shown).into_iter().map(|(own, text)| (stronger(own, tone), text)));
            pieces.push((Tone::Dim, led_to(shown, address)));
            rest = after;
        } else {
            // A backslash takes the meaning from what follows it; what else begins nothing stands for itself.
            let escaped = rest.strip_prefix('\\').unwrap_or(rest);
            let end = escaped.chars().next().map_or(0, char::len_utf8);
            pieces.push((tone, escaped[..end].to_owned()));
            rest = &escaped[end..];
        }
    }
    pieces.push((tone, rest.to_owned()));
    pieces
}

fn stronger(own: Tone, around: Tone) -> Tone {
    if own == Tone::Plain { around } else { own }
}

fn code(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('`')?.split_once('`')
}

fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (shown, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (address, after) = rest.split_once(')')?;
    Some((shown, address, after))
}

/// Says behind a link how one gets there from a terminal.
fn led_to(shown: &str, address: &str) -> String {
    let page = address.split('#').next().unwrap_or_default();
    match page.strip_suffix(".md").filter(|page| super::named(page).is_some()) {
        Some(page) => format!(" (landfall help {page})"),
        None if address.starts_with("http") && address != shown => format!(" ({address})"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let lines = fill(words(text), 200, "", "");
        lines.into_iter().map(|pieces| line(pieces).paint(false)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn marks_of_markdown_go_and_code_stays_as_it_is() {
        assert_eq!(plain("a **bold** word, `**code**` and 2 * 3"), "a bold word, `**code**` and 2 * 3");
        assert_eq!(
            plain(r"`ops` \| `dev`, [not a link], an open `tick"),
            "`ops` | `dev`, [not a link], an open `tick"
        );
    }

    #[test]
    fn a_link_leads_to_a_topic_an_address_or_nowhere() {
        assert_eq!(plain("see [the audit](audit.md#keys)"), "see the audit (landfall help audit)");
        assert_eq!(plain("[Caddy](https://caddyserver.com)"), "Caddy (https://caddyserver.com)");
        assert_eq!(plain("[the unit](../../examples/systemd)"), "the unit");
    }

    #[test]
    fn lines_are_filled_and_a_long_word_has_one_of_its_own() {
        let lines = fill(words("aa bb cccccccccc d"), 6, "- ", "  ");
        let lines: Vec<_> = lines.into_iter().map(|pieces| line(pieces).paint(false)).collect();
        assert_eq!(lines, ["- aa", "  bb", "  cccccccccc", "  d"]);
    }
}
