//! What the documentation says is done: each command is run, each configuration is read, each name is looked for.
//!
//! ```text
//! README.md, api/docs/*.md, examples/**/README.md ─▶ page ─┬─ ```sh    a page's script, run with a server, Docker, a registry
//!                                                          ├─ ```toml  read as what it is
//!                                                          ├─ ```rust  the file that it names
//!                                                          └─ `landfall …` in the text: read as a command line
//! ```
//!
//! A comment above a block says what it needs: `page: bare`, `server` or `live` what is there when the page begins; `toml:` which
//! file it is; `from:` where the code is; `not run:` why a block in `console` can't be run here. **A block that nothing is known
//! about is red**: nothing is written in the documentation that is not tried.

#![expect(clippy::panic, reason = "a test that meets the unexpected ends")]
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]

mod commands;
mod configs;
mod home;
mod names;
mod page;
mod scripts;

#[path = "../it/real/yard.rs"]
#[expect(dead_code, reason = "the other target uses the rest")]
mod yard;
