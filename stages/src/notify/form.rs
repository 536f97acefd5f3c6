//! The forms of a notice: one content, as each receiver wants it. Pure functions; nothing is sent here.

mod chat;
mod json;
mod mail;
mod teams;

pub(super) use chat::discord;
pub(super) use chat::slack;
pub(super) use json::json;
pub(super) use mail::text;
pub(super) use teams::teams;

/// More failing tests than this are a number.
const TESTS_SHOWN_MAX: usize = 10;
/// A failing test in a chat is one line.
const TEST_BYTES_MAX: usize = 200;
