//! Which files `.dockerignore` keeps out of a build, by the rules of Docker itself.
//!
//! Docker's engine takes whatever it is sent, so its client filters, and here we are the client. The rules
//! are not git's: every pattern starts at the root, `!` brings back even what lies in an excluded folder,
//! the last matching pattern wins, and a pattern that matches a folder matches all that is in it.

use regex::Regex;

/// Characters that make a pattern more than a plain path.
const WILDCARDS: &[char] = &['*', '[', ']', '?', '^', '\\'];

/// The patterns of one `.dockerignore`, in order.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    /// True for `!pattern`.
    keeps: bool,
    text: String,
    matcher: Matcher,
}

/// Docker has three short cuts beside its regular expressions, and they match a little differently.
#[derive(Debug)]
enum Matcher {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Regex(Regex),
}

/// Which patterns matched a folder; whoever looks at what is in it starts from there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matched(Vec<bool>);

impl Ignore {
    /// Reads the text of a `.dockerignore`, or says which line is no pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let written = line.trim();
            if line.starts_with('#') || written.is_empty() {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {written:?} {why}", index + 1);
            let (keeps, path) = match written.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, written),
            };
            if path.is_empty() {
                return Err(wrong("brings nothing back: write the pattern behind the !"));
            }
            let cleaned = clean(path);
            let text = match cleaned.strip_prefix('/') {
                Some(rest) if !rest.is_empty() => rest.to_owned(),
                _ => cleaned,
            };
            let matcher = Matcher::of(&text).ok_or_else(|| wrong("is no pattern"))?;
            patterns.push(Pattern { keeps, text, matcher });
        }
        Ok(Self { patterns })
    }

    /// Tells whether a path, with `/` and from the root, is kept out; `parent` is what its folder gave.
    pub(crate) fn excludes(&self, path: &str, parent: Option<&Matched>) -> (bool, Matched) {
        let mut excluded = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.is_some_and(|parent| parent.0.get(index).copied().unwrap_or(false));
            // Docker does not ask a pattern that would change nothing, and forgets that it might have matched.
            if !inherited && pattern.keeps != excluded {
                continue;
            }
            if inherited || pattern.matcher.matches(path) {
                matched[index] = true;
                excluded = !pattern.keeps;
            }
        }
        (excluded, Matched(matched))
    }

    /// Tells whether anything in an excluded folder may be brought back by a later `!`.
    pub(crate) fn may_keep_below(&self, folder: &str) -> bool {
        let mut kept = self.patterns.iter().filter(|pattern| pattern.keeps).peekable();
        if kept.peek().is_none() {
            return false;
        }
        let below = format!("{folder}/");
        let starts: Vec<&str> = kept.map(|pattern| without_trailing_glob(&pattern.text)).collect();
        starts.iter().any(|start| start.contains(WILDCARDS))
            || starts.iter().any(|start| format!("{start}/").starts_with(&below))
    }
}

impl Matcher {
    fn of(pattern: &str) -> Option<Self> {
        let mut regex = String::from("^");
        let mut kind = Kind::Exact;
        let mut chars = pattern.chars().peekable();
        let mut in_class = false;
        let mut first = true;
        while let Some(char) = chars.next() {
            match char {
                '*' if in_class => regex.push_str(r"\*"),
                '*' if chars.peek() == Some(&'*') => {
                    chars.next();
                    chars.next_if_eq(&'/');
                    if chars.peek().is_some() {
                        regex.push_str("(?:.*/)?");
                        kind = Kind::Regex;
                    } else if kind == Kind::Exact {
                        kind = Kind::Prefix;
                    } else {
                        regex.push_str(".*");
                        kind = Kind::Regex;
                    }
                    if first {
                        kind = Kind::Suffix;
                    }
                }
                '*' => {
                    regex.push_str("[^/]*");
                    kind = Kind::Regex;
                }
                '?' if !in_class => {
                    regex.push_str("[^/]");
                    kind = Kind::Regex;
                }
                '\\' => {
                    let escaped = chars.next()?;
                    regex.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
                    kind = Kind::Regex;
                }
                '[' if !in_class => {
                    regex.push('[');
                    if chars.next_if_eq(&'^').is_some() {
                        regex.push('^');
                    }
                    // As in Go, a class is never empty: `]` right after `[` is an error.
                    if chars.peek() == Some(&']') {
                        return None;
                    }
                    in_class = true;
                    kind = Kind::Regex;
                }
                ']' if in_class => {
                    regex.push(']');
                    in_class = false;
                }
                '-' if in_class => regex.push('-'),
                other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            }
            first = false;
        }
        if in_class {
            return None;
        }
        Some(match kind {
            Kind::Exact => Self::Exact(pattern.to_owned()),
            Kind::Prefix => Self::Prefix(pattern[..pattern.len() - 2].to_owned()),
            Kind::Suffix => Self::Suffix(pattern[2..].to_owned()),
            Kind::Regex => Self::Regex(Regex::new(&(regex + "$")).ok()?),
        })
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/').is_some_and(|name| path == name)
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

fn without_trailing_glob(pattern: &str) -> &str {
    let pattern = pattern.strip_suffix("/**").unwrap_or(pattern);
    pattern.strip_suffix("/*").unwrap_or(pattern)
}

/// Returns the shortest path that means the same: no `.`, no double or trailing `/`, `..` resolved.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks down to a path, as the context does.
    fn excludes_file(ignore: &Ignore, path: &str) -> bool {
        let mut parent: Option<Matched> = None;
        let ends = path.match_indices('/').map(|(index, _)| index).chain([path.len()]);
        let mut excluded = false;
        for end in ends {
            let (is_excluded, matched) = ignore.excludes(&path[..end], parent.as_ref());
            excluded = is_excluded;
            parent = Some(matched);
        }
        excluded
    }

    #[track_caller]
    fn check(patterns: &str, out: &[&str], kept: &[&str]) {
        let ignore = Ignore::parse(patterns).unwrap();
        for path in out {
            assert!(excludes_file(&ignore, path), "{path} is kept by {patterns:?}");
        }
        for path in kept {
            assert!(!excludes_file(&ignore, path), "{path} is excluded by {patterns:?}");
        }
    }

    #[test]
    fn a_pattern_starts_at_the_root() {
        check("foo\n/bar\n", &["foo", "foo/a/b", "bar"], &["a/foo", "a/bar", "foobar"]);
        check("*.pyc", &["a.pyc"], &["a/b.pyc", "a.py"]);
        check("*/*.pyc", &["a/b.pyc"], &["b.pyc", "a/b/c.pyc"]);
    }

    #[test]
    fn two_stars_stand_for_any_number_of_folders() {
        check("**/*.pyc", &["a.pyc", "a/b/c.pyc"], &["a.py"]);
        check("**/node_modules", &["node_modules", "a/node_modules/x"], &["node_modules2"]);
        check("docs/**", &["docs/a", "docs/a/b"], &["docs", "docsx"]);
        check("**", &["a", "a/b"], &[]);
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b/z"], &["a/xb", "b"]);
    }

    #[test]
    fn the_last_matching_pattern_wins() {
        check("*.md\n!README.md", &["a.md"], &["README.md"]);
        check("*.md\n!README*.md\nREADME-secret.md", &["README-secret.md"], &["README-x.md"]);
        check("docs\n!docs/api", &["docs/x"], &["docs/api", "docs/api/y"]);
        check("*\n!src/**/*.py", &["a", "src/x.txt"], &["src/x.py", "src/a/b.py"]);
    }

    #[test]
    fn classes_question_marks_and_escapes_are_known() {
        check("[ab]?.txt", &["a1.txt", "b2.txt"], &["c1.txt", "a.txt", "a/.txt"]);
        check("[^a].txt", &["b.txt"], &["a.txt"]);
        check("[a-c]x", &["bx"], &["dx", "-x"]);
        check(r"a\*b", &["a*b"], &["axb"]);
        check("a.b(c)+$", &["a.b(c)+$"], &["axb(c)+$"]);
    }

    #[test]
    fn comments_blank_lines_and_spellings_do_not_matter() {
        check("\u{feff}# all\n\n  ./foo//bar/ \n! foo/bar/keep\n", &["foo/bar/x"], &["foo/bar/keep", "foo"]);
        check(" #not-a-comment", &["#not-a-comment"], &[]);
        check("a/../b", &["b"], &["a"]);
    }

    #[test]
    fn what_is_no_pattern_is_named_with_its_line() {
        for (text, line) in [("ok\n[a", "line 2"), ("!", "line 1"), ("a\\", "line 1"), ("[]a]", "line 1")] {
            let error = Ignore::parse(text).unwrap_err();
            assert!(error.starts_with(line), "{error}");
        }
    }

    #[test]
    fn an_excluded_folder_is_entered_only_for_what_may_come_back() {
        let ignore = Ignore::parse("*\n!src/app").unwrap();
        assert!(ignore.may_keep_below("src"));
        assert!(!ignore.may_keep_below("docs"));
        assert!(Ignore::parse("*\n!**/*.py").unwrap().may_keep_below("docs"));
        assert!(!Ignore::parse("*").unwrap().may_keep_below("src"));
    }
}
