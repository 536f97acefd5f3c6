//! Python source, read as far as it tells what a module offers: its statements, without running any.
//!
//! ```text
//! text ──scan──▶ statements (strings, comments, brackets and continued lines understood) ──▶ names of the module
//! ```
//!
//! No parser: a file of any version of Python, or one with an error in it, gives the statements that can be told.

/// One logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Columns before it.
    pub(crate) indent: usize,
    /// Without comments, in one line; strings are kept.
    pub(crate) text: String,
    /// What it stands in, outermost first.
    pub(crate) within: Vec<Block>,
}

/// What statements stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// A function or a class: nothing in it happens at the import.
    Definition,
    /// `if __name__ == "__main__":`.
    Main,
    /// `try`, `with`, another `if`.
    Other,
}

impl Statement {
    /// Tells whether it is executed when the module is imported.
    pub(crate) fn is_at_import(&self) -> bool {
        self.within.iter().all(|block| *block == Block::Other)
    }

    /// Returns the name and the value of `name = value` and `name: Kind = value`.
    pub(crate) fn assigned(&self) -> Option<(&str, &str)> {
        let at = equals_sign(&self.text)?;
        let (target, value) = (self.text[..at].trim(), self.text[at + 1..].trim());
        let name = target.split(':').next().unwrap_or_default().trim();
        is_identifier(name).then_some((name, value))
    }

    /// Returns the name and the parameters of `def name(parameters)`.
    pub(crate) fn defined(&self) -> Option<(&str, &str)> {
        let rest = self.text.strip_prefix("async ").unwrap_or(&self.text).strip_prefix("def ")?;
        let (name, rest) = rest.split_once('(')?;
        Some((name.trim(), &rest[..closing(rest)?]))
    }

    /// Returns what `from module import a, b as c` brings in: the module, and each name with the one it has there.
    pub(crate) fn imported_from(&self) -> Option<(&str, Vec<(&str, &str)>)> {
        let (module, names) = self.text.strip_prefix("from ")?.split_once(" import ")?;
        let names = names.trim_matches(|c: char| matches!(c, '(' | ')' | ' '));
        let pairs = names.split(',').filter_map(|name| {
            let mut words = name.split_whitespace();
            let there = words.next()?;
            let here = if words.next() == Some("as") { words.next()? } else { there };
            Some((here, there))
        });
        Some((module.trim(), pairs.collect()))
    }
}

/// Returns the place of the `=` of an assignment.
fn equals_sign(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let at = text.find('=')?;
    let before = at.checked_sub(1).map(|at| bytes[at]);
    let is_compared = bytes.get(at + 1) == Some(&b'=')
        || before.is_some_and(|b| {
            matches!(b, b'!' | b'<' | b'>' | b'+' | b'-' | b'*' | b'/' | b'|' | b'&' | b':')
        });
    let has_brackets = text[..at].contains(['(', '"', '\'']);
    (!is_compared && !has_brackets).then_some(at)
}

/// Tells whether a text is a name.
pub(crate) fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Returns the place of the bracket that closes what was opened before this text.
pub(crate) fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') if depth == 0 => return Some(at),
            (None, ')' | ']' | '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// Splits at the commas that stand in no bracket and no string.
pub(crate) fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quote, mut escaped, mut start) = (0_usize, None, false, 0);
    let mut parts = Vec::new();
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Returns the text of a string literal. None: it is something else, or has something to be filled in.
pub(crate) fn literal(text: &str) -> Option<&str> {
    let text = text.trim();
    let text = text.strip_prefix(['r', 'u', 'b']).unwrap_or(text);
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\'])).then_some(inner)
}

/// Returns the statements of a module.
pub(crate) fn statements(text: &str) -> Vec<Statement> {
    let mut blocks: Vec<(usize, Block)> = Vec::new();
    let mut statements = Vec::new();
    for (indent, text) in logical_lines(text) {
        while blocks.last().is_some_and(|(at, _)| *at >= indent) {
            blocks.pop();
        }
        let within = blocks.iter().map(|(_, block)| *block).collect();
        if let Some(block) = opened(&text) {
            blocks.push((indent, block));
            // `if …: statement` in one line.
            if let Some(rest) = after_colon(&text).filter(|rest| !rest.is_empty()) {
                let inside = blocks.iter().map(|(_, block)| *block).collect();
                statements.push(Statement { indent, text: text.clone(), within });
                statements.push(Statement { indent: indent + 1, text: rest.to_owned(), within: inside });
                continue;
            }
        }
        statements.push(Statement { indent, text, within });
    }
    statements
}

fn opened(text: &str) -> Option<Block> {
    let word = text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    match word {
        "def" | "class" => Some(Block::Definition),
        "async" if text.starts_with("async def") => Some(Block::Definition),
        "if" if text.contains("__name__") && text.contains("__main__") && !text.contains("!=") => {
            Some(Block::Main)
        }
        "if" if text.contains("TYPE_CHECKING") => Some(Block::Definition),
        "if" | "elif" | "else" | "try" | "except" | "finally" | "with" | "for" | "while" | "match"
        | "case" => Some(Block::Other),
        _ => None,
    }
}

fn after_colon(text: &str) -> Option<&str> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (Some(open), _) if open == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ':') if depth == 0 => return Some(text[at + 1..].trim()),
            (None, _) => {}
        }
    }
    None
}

/// Returns each logical line with its indentation: comments gone, brackets and backslashes joined.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut chars = text.chars().peekable();
    let (mut line, mut indent, mut depth) = (String::new(), 0_usize, 0_usize);
    let mut at_start = true;
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\u{c}' if at_start => indent += if char == '\t' { 8 } else { 1 },
            '#' => while chars.next_if(|next| *next != '\n').is_some() {},
            '\r' => {}
            '\\' if matches!(chars.peek(), Some('\n' | '\r')) => {
                chars.next_if_eq(&'\r');
                chars.next_if_eq(&'\n');
                line.push(' ');
            }
            '\n' if depth > 0 => line.push(' '),
            '\n' | ';' if char == '\n' || depth == 0 => {
                let whole = line.split_whitespace().collect::<Vec<_>>().join(" ");
                // Joining words would change the inside of strings, where it does not matter to any reader here.
                if !whole.is_empty() {
                    lines.push((indent, whole));
                }
                line.clear();
                if char == '\n' {
                    (indent, at_start) = (0, true);
                }
            }
            '"' | '\'' => {
                at_start = false;
                string(char, &mut chars, &mut line);
            }
            _ => {
                at_start = false;
                match char {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                line.push(char);
            }
        }
    }
    let whole = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if !whole.is_empty() {
        lines.push((indent, whole));
    }
    lines
}

/// Takes a string to its end. One of three quotes becomes an empty one: nothing that is asked for stands in those.
fn string(quote: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut String) {
    line.push(quote);
    let is_long = match (chars.next_if_eq(&quote), chars.peek()) {
        (Some(_), Some(next)) if *next == quote => {
            chars.next();
            true
        }
        // The empty string.
        (Some(_), _) => {
            line.push(quote);
            return;
        }
        (None, _) => false,
    };
    let (mut escaped, mut run) = (false, 0);
    for char in chars.by_ref() {
        if !is_long && (char == '\n' || (char == quote && !escaped)) {
            break;
        }
        run = if char == quote && !escaped { run + 1 } else { 0 };
        if is_long && run == 3 {
            break;
        }
        escaped = char == '\\' && !escaped;
        if !is_long {
            line.push(char);
        }
    }
    line.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        statements(text)
            .into_iter()
            .map(|s| format!("{}|{}|{}", s.indent, s.is_at_import(), s.text))
            .collect()
    }

    #[test]
    fn statements_are_told_from_comments_strings_and_continued_lines() {
        let text = "# app = Flask()\n'''\napp = Flask(__name__)\n'''\nx = (1,\n  2)  # two\ny = a \\\n  + b\nz = 'it\\'s # no'; w = 1\n";
        assert_eq!(
            lines(text),
            [
                "0|true|''",
                "0|true|x = (1, 2)",
                "0|true|y = a + b",
                "0|true|z = 'it\\'s # no'",
                "0|true|w = 1"
            ]
        );
    }

    #[test]
    fn what_happens_at_the_import_is_told_from_what_does_not() {
        let text = "try:\n    app = make()\nexcept E:\n    pass\ndef f():\n    app = 1\n    if x:\n        y()\nif __name__ == '__main__':\n    app.run()\nif DEBUG: app.run()\nclass A:\n\tb = 1\nend = 1";
        assert_eq!(
            lines(text),
            [
                "0|true|try:",
                "4|true|app = make()",
                "0|true|except E:",
                "4|true|pass",
                "0|true|def f():",
                "4|false|app = 1",
                "4|false|if x:",
                "8|false|y()",
                "0|true|if __name__ == '__main__':",
                "4|false|app.run()",
                "0|true|if DEBUG: app.run()",
                "1|true|app.run()",
                "0|true|class A:",
                "8|false|b = 1",
                "0|true|end = 1",
            ]
        );
    }

    #[test]
    fn names_are_read_off_assignments_functions_and_imports() {
        let one = |text: &str| statements(text).remove(0);
        assert_eq!(one("app: Flask = Flask(__name__)").assigned(), Some(("app", "Flask(__name__)")));
        for none in ["app == 1", "app += 1", "app.x = 1", "f(x=1)", "a, b = 1, 2"] {
            assert_eq!(one(none).assigned(), None, "{none}");
        }
        assert_eq!(
            one("def create_app(config=None, *, x: Dict[str, str] = {}) -> Flask:").defined(),
            Some(("create_app", "config=None, *, x: Dict[str, str] = {}"))
        );
        assert_eq!(
            one("from shop import (\n  db,  # x\n  create_app as make,\n)").imported_from(),
            Some(("shop", vec![("db", "db"), ("make", "create_app")]))
        );
        assert_eq!(arguments("'a,b', f(1, 2), c = [3, 4]"), ["'a,b'", "f(1, 2)", "c = [3, 4]"]);
        assert_eq!((literal("'x'"), literal("f'x'"), literal("\"a\\n\"")), (Some("x"), None, None));
    }

    #[test]
    fn nonsense_gives_some_statements_and_no_panic() {
        for text in
            ["'", "'''", "(((", ")))", "\\", "\u{0}\u{feff}", "def", "def f(", "from import", "if:", ":", "="]
        {
            for statement in statements(text) {
                let _ = (statement.assigned(), statement.defined(), statement.imported_from());
            }
        }
    }
}
