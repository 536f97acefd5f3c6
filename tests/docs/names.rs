//! What the documentation names is there: languages of blocks, files, tests, code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::page::{files_below, page, pages, root};

/// Blocks in these show what others do, or what is printed: there is nothing to try.
const SHOWN: [&str; 5] = ["text", "ini", "yaml", "python", "json"];

#[test]
fn every_block_is_tried_or_says_why_it_can_not_be() {
    for page in pages() {
        for block in page.blocks() {
            let at = format!("{}:{}", page.path, block.line);
            match block.language.as_str() {
                "sh" | "toml" => {}
                "rust" => assert!(block.mark("from").is_some(), "{at}: which file is this?"),
                "console" => assert!(
                    block.mark("not run").is_some_and(|why| why.len() > 20),
                    "{at}: a block that is not run says why, in a comment above it: <!-- not run: … -->"
                ),
                shown => assert!(SHOWN.contains(&shown), "{at}: nothing is known about a block in {shown:?}"),
            }
        }
    }
}

#[test]
fn code_in_a_page_is_the_code_that_is_compiled() {
    let mut found = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "rust") {
            let file = block.mark("from").unwrap();
            let code = fs::read_to_string(root().join(file)).unwrap();
            assert!(
                code.ends_with(&block.text),
                "{}:{} differs from the end of {file}: copy that, from its first `use` on",
                page.path,
                block.line
            );
            found += 1;
        }
    }
    assert!(found > 0, "no page shows code");
}

#[test]
fn a_link_to_a_file_leads_to_one_and_one_into_a_page_to_a_heading() {
    for page in pages() {
        let folder = Path::new(&page.path).parent().unwrap().to_owned();
        for (line, text) in page.prose() {
            for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if link.starts_with("http") {
                    continue;
                }
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = root().join(&folder).join(file);
                assert!(target.exists(), "{}:{line}: {link} leads nowhere", page.path);
                if !heading.is_empty() {
                    let text = fs::read_to_string(&target).unwrap();
                    let found =
                        text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == heading);
                    assert!(found, "{}:{line}: {file} has no heading #{heading}", page.path);
                }
            }
        }
    }
}

/// As forges make them.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn a_test_that_is_named_as_a_proof_is_there() {
    let sources = ["api", "engine", "stages", "store", "tests"].into_iter().flat_map(files_below);
    let sources = sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let text: String = sources.map(|path| fs::read_to_string(root().join(path)).unwrap()).collect();
    let tests: BTreeSet<&str> =
        text.split("fn ").skip(1).filter_map(|rest| rest.split("()").next()).collect();
    let page = page("api/docs/what-happens-when.md");
    let is_name = |span: &str| {
        span.matches('_').count() >= 3 && span.chars().all(|c| c.is_lowercase() || c == '_' || c.is_numeric())
    };
    let named: Vec<_> = page.code_spans().into_iter().filter(|(_, span)| is_name(span)).collect();
    assert!(named.len() > 40, "only {} tests are named, so this test sees little", named.len());
    for (line, name) in named.iter().filter(|(_, name)| !name.starts_with("landfall_")) {
        assert!(tests.contains(name.as_str()), "{}:{line}: there is no test {name}", page.path);
    }
}

#[test]
fn the_first_page_is_read_in_two_minutes() {
    let readme = page("README.md");
    let first = readme.text.split("## Read on").next().unwrap();
    let words = first.split_whitespace().count();
    // Two hundred a minute, and the code is to be typed.
    assert!(words <= 450, "{words} words stand before a reader has run it");
}
