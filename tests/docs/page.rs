//! The pages, and what stands in them: blocks of code with the comments above them, code between words, links.

use std::fs;
use std::path::{Path, PathBuf};

/// A page of the documentation.
pub struct Page {
    /// From the root of the repository: `api/docs/audit.md`.
    pub path: String,
    pub text: String,
}

/// A block of code.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands behind the fence: `sh`.
    pub language: String,
    pub text: String,
    /// The line of its fence, from 1.
    pub line: usize,
    /// The comments right above it, each as its word and what follows: `toml`, `server.toml`.
    pub marks: Vec<(String, String)>,
}

impl Block {
    /// Returns what a mark above the block says.
    pub fn mark(&self, name: &str) -> Option<&str> {
        self.marks.iter().find(|(word, _)| word == name).map(|(_, said)| said.as_str())
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns all pages.
pub fn pages() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md")];
    paths.extend(
        files_below("api/docs").into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")),
    );
    paths.extend(files_below("examples").into_iter().filter(|path| path.ends_with("README.md")));
    let page = |path: &PathBuf| Page {
        path: path.to_str().unwrap().to_owned(),
        text: fs::read_to_string(root().join(path)).unwrap(),
    };
    let pages: Vec<_> = paths.iter().map(page).collect();
    assert!(pages.len() > 15, "only {} pages were found, so these tests see little", pages.len());
    pages
}

/// Returns the page of that path.
pub fn page(path: &str) -> Page {
    pages().into_iter().find(|page| page.path == path).unwrap_or_else(|| panic!("there is no {path}"))
}

/// Returns the files below a folder, from the root of the repository.
pub fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(root().join(&folder)).unwrap().map(Result::unwrap).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

impl Page {
    /// Returns the blocks of code, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut marks = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((nth, line)) = lines.next() {
            let text = line.trim();
            if let Some(language) = text.strip_prefix("```") {
                let indent = line.len() - line.trim_start().len();
                let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
                let code: String =
                    inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or(""))).collect();
                let (language, marks) = (language.to_owned(), std::mem::take(&mut marks));
                blocks.push(Block { language, text: code, line: nth + 1, marks });
            } else if let Some(comment) = text.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"))
            {
                let (word, said) = comment.split_once(':').unwrap_or((comment, ""));
                marks.push((word.trim().to_owned(), said.trim().to_owned()));
            } else if !text.is_empty() {
                marks.clear();
            }
        }
        blocks
    }

    /// Returns what stands outside of blocks, line by line with its number.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut in_block = false;
        let outside = self.text.lines().enumerate().filter(|(_, line)| {
            let is_fence = line.trim().starts_with("```");
            in_block ^= is_fence;
            !in_block && !is_fence
        });
        outside.map(|(nth, line)| (nth + 1, line)).collect()
    }

    /// Returns the code between words, with the line it stands in. It may go on in the next line.
    pub fn code_spans(&self) -> Vec<(usize, String)> {
        let mut spans = Vec::new();
        let (mut begun, mut open) = (0, None::<String>);
        for (line, text) in self.prose() {
            if text.trim().is_empty() || text.starts_with('|') {
                open = None;
            }
            for (nth, part) in text.split('`').enumerate() {
                let ends = nth > 0;
                match (ends, open.take()) {
                    (true, Some(span)) => spans.push((begun, span)),
                    (true, None) => (begun, open) = (line, Some(String::new())),
                    (false, kept) => open = kept.map(|span| span + " "),
                }
                if let Some(span) = open.as_mut() {
                    span.push_str(part.trim_end_matches('\n'));
                }
            }
        }
        spans
    }
}

#[test]
fn blocks_have_their_language_their_place_and_the_comments_above_them() {
    let text =
        "# A\n\n<!-- page: live -->\n```sh\na\n```\ntext `x` and `y\nz`\n\n   ```toml\n   b = 1\n   ```\n"
            .to_owned();
    let page = Page { path: "a.md".into(), text };
    let blocks = page.blocks();
    assert_eq!(blocks.len(), 2);
    assert_eq!((blocks[0].language.as_str(), blocks[0].line, blocks[0].text.as_str()), ("sh", 4, "a\n"));
    assert_eq!(blocks[0].mark("page"), Some("live"));
    assert_eq!((blocks[1].language.as_str(), blocks[1].text.as_str()), ("toml", "b = 1\n"));
    assert_eq!(page.code_spans(), [(7, "x".to_owned()), (7, "y z".to_owned())]);
}
