//! A notice as plain text, for reading from top to bottom.

use super::TESTS_SHOWN_MAX;
use crate::notify::message::About;
use crate::notify::message::Message;

/// Returns the whole as plain text.
pub(in crate::notify) fn text(message: &Message) -> String {
    let mut text = format!("{}\n\n{}\n", message.title, message.reason);
    if let About::Run(run) = &message.about {
        text.push_str(&format!("\ncommit  {} {}\n", run.short_sha(), run.subject));
        text.push_str(&format!("by      {}\n", run.by()));
    }
    if !message.tests.is_empty() {
        text.push_str("\nfailing tests\n");
        for test in message.tests.iter().take(TESTS_SHOWN_MAX) {
            text.push_str(&format!("  {}\n    {}\n", test.name, test.message));
        }
    }
    if !message.tail.is_empty() {
        text.push_str("\nthe last lines\n");
        message.tail.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text.push_str(&format!("\n{}\n{}\n", message.then, message.command));
    text
}
