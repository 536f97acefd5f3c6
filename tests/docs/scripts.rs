//! The commands of each page, run in order as one script: a reader who types them from the top gets to its end.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::home::{Begins, Home};
use crate::page::{Page, page, pages};

fn has_a_script(page: &Page) -> bool {
    page.blocks().iter().any(|block| block.language == "sh")
}

/// Returns what is there when the page begins, which its first script says.
fn begins(page: &Page) -> Begins {
    let said: Vec<_> =
        page.blocks().iter().filter_map(|block| block.mark("page").map(str::to_owned)).collect();
    match said.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare"] => Begins::Bare,
        ["server"] => Begins::Server,
        ["live"] => Begins::Live,
        _ => {
            panic!("{}: one block says what is there at the beginning: page: bare, server or live", page.path)
        }
    }
}

/// Runs a page, and returns what was printed.
fn run(path: &str) -> String {
    let page = page(path);
    let home = Home::new(begins(&page));
    let mut script = String::new();
    if path == "README.md" {
        script.push_str("cd ~/landfall\n");
    }
    for block in page.blocks() {
        match (block.language.as_str(), block.mark("toml")) {
            ("sh", _) => write!(script, "echo '--- {}:{}'\n{}", page.path, block.line, block.text).unwrap(),
            (_, Some("write landfall.toml")) => home.configure(&block.text),
            _ => {}
        }
    }
    home.run(&script)
}

/// A test a page, so that they run beside each other and a red one is named.
macro_rules! scripts {
    ($($name:ident: $path:literal, $expected:expr;)*) => {
        const TRIED: &[&str] = &[$($path),*];
        $(
            #[test]
            fn $name() {
                let printed = run($path);
                println!("{printed}");
                for text in $expected {
                    assert!(printed.contains(text), "{text:?} is missing in:\n{printed}");
                }
            }
        )*
    };
}

scripts! {
    the_first_page: "README.md", ["Live: shop", "Hello from Landfall", "Verified:"];
    the_first_deploy: "api/docs/first-deploy.md", ["Live: shop", "Hello from Landfall", "Verified:"];
    forges: "api/docs/forges.md", ["shop is registered", "blog is registered"];
    environments: "api/docs/environments.md", ["Live: shop", "\"ok\"", "paused"];
    operating: "api/docs/operate.md", ["grafana", "DATABASE_URL", "Landfall"];
    what_happens: "api/docs/what-happens-when.md", ["Live: shop"];
    removing_an_app: "api/docs/removing-an-app.md", ["paused"];
    auditing: "api/docs/audit.md", ["Verified:", "Signature Verified Successfully", "PASSED"];
    hello_flask: "examples/hello-flask/README.md", ["passed", "healthz"];
    from_heroku: "api/docs/from-heroku.md", ["SECRET_KEY"];
    from_dokku: "api/docs/from-dokku.md", ["SECRET_KEY"];
    from_github_actions: "api/docs/from-github-actions.md", ["github-actions"];
}

#[test]
fn every_page_with_commands_is_run() {
    let with: BTreeSet<String> = pages().into_iter().filter(has_a_script).map(|page| page.path).collect();
    let tried: BTreeSet<String> = TRIED.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(with, tried, "pages with commands (left) are the pages that are run (right)");
}
