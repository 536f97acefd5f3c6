//! Where a notice goes, as it is written in a configuration: `slack:OPS_WEBHOOK`.
//!
//! **Invariant:** a channel names secrets and holds none, and what is no channel is never quoted: whoever writes the
//! URL of a webhook in its place has written a password.

use crate::config::nearest;
use crate::secrets::is_name;
use crate::secrets::is_ours;

/// The forms of a channel, for messages.
const EXPECTED: &str = "a channel: \"email:author\", \"email:ops@example.com\", \"slack:SECRET\", \"discord:SECRET\", \
                        \"teams:SECRET\", \"webhook:SECRET\" or, signed, \"webhook:SECRET:SIGNING_SECRET\"";

/// The words before the colon.
const KINDS: [&str; 5] = ["email", "slack", "discord", "teams", "webhook"];

/// Where a notice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// By e-mail to whoever made the commit.
    Author,
    /// By e-mail to this address.
    Email(&'a str),
    /// To a webhook of Slack, or of what takes the same.
    Slack(&'a str),
    /// To a webhook of Discord.
    Discord(&'a str),
    /// To a webhook of Microsoft Teams' Workflows.
    Teams(&'a str),
    /// To a program.
    Webhook {
        /// Name of the secret that holds the URL.
        url: &'a str,
        /// Name of the secret with which the request is signed.
        key: Option<&'a str>,
    },
}

/// Why a text is no channel. Quotes none of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {EXPECTED}")]
pub struct NoChannel {
    meant: Option<&'static str>,
}

impl NoChannel {
    /// Returns what to do about it.
    pub fn help(&self) -> String {
        let names = "all but email: take the name of the secret that holds the URL, of A-Z, 0-9 and '_'";
        self.meant.map_or_else(|| names.to_owned(), |kind| format!("did you mean `{kind}:`? {names}"))
    }
}

impl<'a> Channel<'a> {
    /// Reads a channel.
    ///
    /// # Errors
    ///
    /// [`NoChannel`] when it is written otherwise.
    pub fn parse(text: &'a str) -> Result<Self, NoChannel> {
        let (kind, target) = text.split_once(':').ok_or(NoChannel { meant: None })?;
        let channel = match kind {
            "email" if target == "author" => Some(Self::Author),
            "email" => target.parse::<lettre::Address>().is_ok().then_some(Self::Email(target)),
            "slack" => secret(target).map(Self::Slack),
            "discord" => secret(target).map(Self::Discord),
            "teams" => secret(target).map(Self::Teams),
            "webhook" => match target.split_once(':') {
                None => secret(target).map(|url| Self::Webhook { url, key: None }),
                Some((url, key)) => {
                    secret(url).zip(secret(key)).map(|(url, key)| Self::Webhook { url, key: Some(key) })
                }
            },
            other => return Err(NoChannel { meant: nearest(other, &KINDS) }),
        };
        channel.ok_or(NoChannel { meant: None })
    }

    /// Returns the names of the secrets that it takes to send something there.
    pub fn secrets(self) -> impl Iterator<Item = &'a str> {
        let (url, key) = match self {
            Self::Author | Self::Email(_) => (None, None),
            Self::Slack(url) | Self::Discord(url) | Self::Teams(url) => (Some(url), None),
            Self::Webhook { url, key } => (Some(url), key),
        };
        url.into_iter().chain(key)
    }
}

fn secret(name: &str) -> Option<&str> {
    (is_name(name) && !is_ours(name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_names_its_secrets() {
        let check = |text, expected: Channel<'_>, secrets: &[&str]| {
            let channel = Channel::parse(text).unwrap();
            assert_eq!(channel, expected, "{text}");
            assert_eq!(channel.secrets().collect::<Vec<_>>(), secrets, "{text}");
        };
        check("email:author", Channel::Author, &[]);
        check("email:ops@example.com", Channel::Email("ops@example.com"), &[]);
        check("slack:OPS", Channel::Slack("OPS"), &["OPS"]);
        check("discord:OPS", Channel::Discord("OPS"), &["OPS"]);
        check("teams:OPS_2", Channel::Teams("OPS_2"), &["OPS_2"]);
        check("webhook:OPS", Channel::Webhook { url: "OPS", key: None }, &["OPS"]);
        check("webhook:OPS:KEY", Channel::Webhook { url: "OPS", key: Some("KEY") }, &["OPS", "KEY"]);
    }

    #[test]
    fn what_is_no_channel_is_said_without_being_quoted() {
        let urls = [
            "slack:https://hooks.slack.com/services/T0/B0/XYZ",
            "https://hooks.slack.com/services/T0/B0/XYZ",
        ];
        let others =
            ["", "slack", "slack:", "slack:ops", "email:nobody", "webhook:A:b", "webhook:A:", "teams:A:B"];
        for text in urls.into_iter().chain(others).chain(["slack:LANDFALL_TOKEN", "pager:ME"]) {
            let refused = Channel::parse(text).unwrap_err();
            let said = format!("{refused}; {}", refused.help());
            assert!(!said.contains("XYZ") && said.contains("expected a channel"), "{said}");
        }
        let help = |text| Channel::parse(text).unwrap_err().help();
        assert!(help("mail:author").starts_with("did you mean `email:`?"));
        assert!(help("team:OPS").starts_with("did you mean `teams:`?"));
        assert!(help("pager:ME").starts_with("all but"));
    }
}
