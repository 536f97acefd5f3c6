//! Reads a dotenv file: `NAME=value` lines, quotes, comments, and nothing that a shell would run.
//!
//! Single quotes keep everything, double quotes know `\n \r \t \" \\ \$`; both may span lines. There is no
//! `$VARIABLE`: a password with a dollar in it means what it says.

use std::collections::BTreeMap;

/// A line that is no assignment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) message: &'static str,
}

/// Returns the assignments of a file; the last one of a name counts.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, Malformed> {
    let mut values = BTreeMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let at = |message| Malformed { line: 1 + newlines(&text[..text.len() - rest.len()]), message };
        let (line, below) = rest.split_once('\n').unwrap_or((rest, ""));
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with('#') {
            rest = below;
            continue;
        }
        let (name, _) = line.split_once('=').ok_or_else(|| at("expected NAME=value"))?;
        let value_at = name.len() + 1;
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim);
        if !is_name(name) {
            return Err(at("expected a name of letters, digits and '_' before the '='"));
        }
        let (value, below) = value(rest[value_at..].trim_start_matches([' ', '\t'])).map_err(at)?;
        values.insert(name.to_owned(), value);
        rest = below;
    }
    Ok(values)
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns the value at the start of the text, and the lines below it.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    match text.chars().next() {
        Some('\'') => {
            let (value, rest) = text[1..].split_once('\'').ok_or("the ' of this line is not closed")?;
            Ok((value.to_owned(), end_of_line(rest)?))
        }
        Some('"') => {
            let (value, rest) = double_quoted(&text[1..]).ok_or("the \" of this line is not closed")?;
            Ok((value, end_of_line(rest)?))
        }
        _ => {
            let (line, below) = text.split_once('\n').unwrap_or((text, ""));
            let end = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
            Ok((line[..end].trim().to_owned(), below))
        }
    }
}

fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                kept @ ('"' | '\\' | '$') => value.push(kept),
                other => value.extend(['\\', other]),
            },
            char => value.push(char),
        }
    }
    None
}

fn end_of_line(rest: &str) -> Result<&str, &'static str> {
    let (line, below) = rest.split_once('\n').unwrap_or((rest, ""));
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(below);
    }
    Err("expected nothing after the closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn plain_exported_and_commented_lines_are_read() {
        check(
            "# top\nA=1\n\nexport B = two words # why\r\nC=a#b=c\nD=\n",
            &[("A", "1"), ("B", "two words"), ("C", "a#b=c"), ("D", "")],
        );
    }

    #[test]
    fn quotes_keep_what_is_in_them() {
        check(
            "A='p$w \\n #'\nB=\"a\\nb\\\"c\\$\" # note\nC='-----BEGIN\nkey\n-----END'\n",
            &[("A", "p$w \\n #"), ("B", "a\nb\"c$"), ("C", "-----BEGIN\nkey\n-----END")],
        );
    }

    #[test]
    fn a_line_that_is_no_assignment_is_named() {
        let malformed = |text: &str| parse(text).unwrap_err();
        assert_eq!(malformed("A=1\nB"), Malformed { line: 2, message: "expected NAME=value" });
        assert_eq!(malformed("A='1\n2'\n1B=2").line, 3);
        assert_eq!(malformed("A=1\nB='x\n").line, 2);
        assert_eq!(malformed("A='x' y").message, "expected nothing after the closing quote");
    }
}
