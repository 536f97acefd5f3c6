//! A notice in a chat that writes in Markdown's cousins: Slack and Discord.
//!
//! Both cut what is too long and show the rest nowhere, so the end — what to do — is kept and the output gives way.

use serde_json::Value;
use serde_json::json;

use super::TEST_BYTES_MAX;
use super::TESTS_SHOWN_MAX;
use crate::lines::clip;
use crate::notify::message::About;
use crate::notify::message::Message;

/// Slack cuts a message at 4,000 characters.
const SLACK_BYTES_MAX: usize = 3_500;
/// Discord refuses an embed whose description has more than 4,096 characters, or that has more than 6,000 in all.
const DISCORD_BYTES_MAX: usize = 3_500;
/// Discord refuses a content of more than 2,000 characters; a title is far shorter.
const DISCORD_TITLE_BYTES_MAX: usize = 1_000;
/// The red of an alarm, as Discord counts colours.
const RED: u32 = 0x00d9_2d20;

/// Returns the body of a Slack-compatible webhook.
pub(in crate::notify) fn slack(message: &Message) -> Value {
    let title = format!("*{}*\n", slack_text(&message.title));
    json!({ "text": written(message, title, &SLACK, SLACK_BYTES_MAX) })
}

/// Returns the body of a Discord webhook. Nobody is mentioned, whatever a commit or a test says.
pub(in crate::notify) fn discord(message: &Message) -> Value {
    let description = written(message, String::new(), &DISCORD, DISCORD_BYTES_MAX);
    json!({
        "content": clip(&format!("**{}**", discord_text(&message.title)), DISCORD_TITLE_BYTES_MAX),
        "embeds": [{ "description": description, "color": RED }],
        "allowed_mentions": { "parse": [] },
    })
}

/// How a chat keeps a text from being taken for markup.
struct Escapes {
    plain: fn(&str) -> String,
    /// Inside a block of code.
    code: fn(&str) -> String,
}

const SLACK: Escapes = Escapes { plain: slack_text, code: slack_text };
const DISCORD: Escapes = Escapes { plain: discord_text, code: str::to_owned };

fn written(message: &Message, head: String, escapes: &Escapes, bytes_max: usize) -> String {
    let Escapes { plain, code } = escapes;
    let mut text = head;
    text.push_str(&format!("{}\n", plain(&message.reason)));
    if let About::Run(run) = &message.about {
        text.push_str(&format!("{}\n", plain(&format!("{} by {}", run.short_sha(), run.by()))));
    }
    for test in message.tests.iter().take(TESTS_SHOWN_MAX) {
        let line = clip(&format!("{}: {}", test.name, test.message), TEST_BYTES_MAX);
        text.push_str(&format!("• {}\n", plain(&line)));
    }
    let end = format!("{}\n`{}`", plain(&message.then), message.command);
    let room = bytes_max.saturating_sub(text.len() + end.len() + 16);
    let tail = last_lines(&message.tail, *code, room);
    if !tail.is_empty() {
        text.push_str(&format!("```\n{tail}\n```\n"));
    }
    let text = clip(&text, bytes_max.saturating_sub(end.len() + 1));
    format!("{}\n{end}", text.trim_end())
}

/// Slack takes three characters for markup, and `<!channel>` for a call to everybody.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Discord takes these for markup, and a backslash before one for the character itself.
fn discord_text(text: &str) -> String {
    let marks = |char| matches!(char, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '@');
    text.chars().flat_map(|char| marks(char).then_some('\\').into_iter().chain([char])).collect()
}

/// Returns as many last lines as there is room for, safe inside a block of code.
fn last_lines(lines: &[String], code: fn(&str) -> String, room: usize) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut left = room;
    for line in lines.iter().rev() {
        let line = code(line).replace("```", "'''");
        let Some(rest) = left.checked_sub(line.len() + 1) else { break };
        left = rest;
        kept.push(line);
    }
    kept.reverse();
    kept.join("\n")
}
