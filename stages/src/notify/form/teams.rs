//! A notice as an Adaptive Card, in the message that a webhook of Teams' Workflows takes.
//!
//! Every text is a run of a `RichTextBlock`: unlike a `TextBlock`, it takes no markup, so nothing that a commit or a
//! test says can become a link or a mention.

use serde_json::Value;
use serde_json::json;

use super::TEST_BYTES_MAX;
use super::TESTS_SHOWN_MAX;
use crate::lines::clip;
use crate::notify::message::About;
use crate::notify::message::Message;

/// The first version with rich text is 1.2; Teams shows up to 1.5.
const CARD_VERSION: &str = "1.4";
/// Teams refuses a message of more than 28 KB. The last lines are 6 KB at most, twice that as JSON, and each has a
/// block around it.
const REASON_BYTES_MAX: usize = 2_000;

/// Returns the body of a Workflows webhook.
pub(in crate::notify) fn teams(message: &Message) -> Value {
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": CARD_VERSION,
        "fallbackText": message.title,
        "msteams": { "width": "Full" },
        "body": blocks(message),
    });
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
}

fn blocks(message: &Message) -> Vec<Value> {
    let title = json!({
        "type": "TextRun", "text": message.title, "size": "Medium", "weight": "Bolder", "color": "Attention",
    });
    let mut blocks = vec![block(title), plain(&clip(&message.reason, REASON_BYTES_MAX))];
    if let About::Run(run) = &message.about {
        let by = format!("{} by {}", run.short_sha(), run.by());
        blocks.push(block(json!({ "type": "TextRun", "text": by, "isSubtle": true })));
    }
    for test in message.tests.iter().take(TESTS_SHOWN_MAX) {
        let line = clip(&format!("• {}: {}", test.name, test.message), TEST_BYTES_MAX);
        blocks.push(close(plain(&line)));
    }
    if !message.tail.is_empty() {
        let lines: Vec<Value> = message.tail.iter().map(|line| close(code(line))).collect();
        blocks.push(json!({ "type": "Container", "style": "emphasis", "items": lines }));
    }
    blocks.extend([plain(&message.then), close(code(&message.command))]);
    blocks
}

fn block(run: Value) -> Value {
    json!({ "type": "RichTextBlock", "inlines": [run] })
}

fn plain(text: &str) -> Value {
    block(json!({ "type": "TextRun", "text": text }))
}

fn code(text: &str) -> Value {
    // A card has no empty line: a block without text is dropped, and what is below it moves up.
    let text = if text.trim().is_empty() { "\u{a0}" } else { text };
    block(json!({ "type": "TextRun", "text": text, "fontType": "Monospace", "size": "Small" }))
}

/// Puts a block right below the one before it.
fn close(mut block: Value) -> Value {
    block["spacing"] = json!("None");
    block
}
