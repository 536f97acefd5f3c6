//! The pages of `api/docs`, which `landfall help TOPIC` shows on a terminal and a forge shows on the web.
//!
//! They are part of the binary: what is explained is what this very version does.

mod inline;
mod render;
mod table;

pub use render::render;

/// A page that explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its file in `api/docs`, without the `.md`.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Its Markdown.
    pub text: &'static str,
}

macro_rules! topics {
    ($($name:literal: $about:literal,)*) => {
        /// All pages, in the order in which somebody new would read them.
        pub const TOPICS: &[Topic] = &[
            $(Topic { name: $name, about: $about, text: include_str!(concat!("../../docs/", $name, ".md")) },)*
        ];
    };
}

topics! {
    "first-deploy": "From a Flask app as it is to a live one, and how to see and change what was guessed",
    "configuration": "Every key of landfall.toml: its type, its default, an example",
    "commands": "What each command is for",
    "forges": "Start runs from GitHub, GitLab, Gitea, Forgejo or Bitbucket, and tell them how it went",
    "environments": "Staging and production: promote, approve, pause, hold",
    "operate": "Run the server: as a service, encrypted, watched, backed up, upgraded",
    "what-happens-when": "A crash, a full disk, two pushes at once, …: what Landfall does, and what you do",
    "removing-an-app": "Stop an app and take it away",
    "audit": "What the log proves, and how somebody else checks it",
    "proofs": "How Landfall's own claims are tested",
    "embed": "The engine as a library in a service of your own",
    "from-heroku": "Where each thing of Heroku is here",
    "from-dokku": "Where each thing of Dokku is here",
    "from-kamal": "Where each key of Kamal's deploy.yml is here",
    "from-github-actions": "A workflow that deploys, as a landfall.toml",
    "glossary": "The words that are used here, and what each means",
}

/// Returns the page of that name.
pub fn named(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_page_is_a_topic_and_begins_with_its_title() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).expect("it is there");
        let files: BTreeSet<String> = folder
            .map(|entry| entry.expect("it can be read").file_name().into_string().expect("it is plain"))
            .collect();
        let topics: BTreeSet<String> = TOPICS.iter().map(|topic| format!("{}.md", topic.name)).collect();
        assert_eq!(files, topics);
        for topic in TOPICS {
            assert!(topic.text.starts_with("# "), "{} has no title", topic.name);
        }
    }

    #[test]
    fn a_link_from_page_to_page_leads_to_one() {
        for topic in TOPICS {
            for link in topic.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let page = link.split('#').next().unwrap_or_default();
                if let Some(page) = page.strip_suffix(".md").filter(|page| !page.contains('/')) {
                    assert!(named(page).is_some(), "{} links to {link}, which is no page", topic.name);
                }
            }
        }
    }

    #[test]
    fn no_page_is_wider_than_the_terminal_but_for_its_code() {
        for topic in TOPICS {
            for line in render(topic.text, 60) {
                let plain = line.paint(false);
                let is_code = plain.starts_with(render::CODE);
                assert!(
                    is_code || crate::picture::text::width_of(&plain) <= 60 || !plain.trim().contains(' '),
                    "{}: {plain:?}",
                    topic.name
                );
            }
        }
    }
}
