//! Tells people how a run ended, or what the server lacks, through one channel: a chat, a webhook, or e-mail.
//!
//! ```text
//! run or server ─▶ message ─▶ form ─▶ webhook | email ─▶ taken | NotSent::{Failed, Errored}
//! ```
//!
//! Every try of a notice carries the same key, so that the receiver can drop what it has already.
//! **No error names the address it was sent to**: the URL of a webhook is a password.

mod channel;
mod email;
mod form;
mod message;
mod sign;
mod webhook;

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use landfall_engine::core::command::NotSent;
use landfall_engine::core::event::Commit;
use landfall_engine::core::run::RunId;
use landfall_engine::ports::NoticeOrder;

use crate::context::Context;
use crate::evidence;
use crate::http::written;
use crate::secrets::MAIL_FROM;
use crate::secrets::Masker;
use crate::secrets::SMTP_URL;
use crate::secrets::Secrets;
use message::Message;

pub use channel::Channel;
pub use channel::NoChannel;
pub use message::ServerNotice;

/// Receivers answer in tens of milliseconds; who waits longer is down, and is tried again later.
const LIMIT: Duration = Duration::from_secs(10);

/// One try of a notice, with all that it takes.
struct Sending<'a> {
    http: &'a reqwest::Client,
    secrets: &'a Secrets,
    masker: &'a Masker,
    /// As it is configured; never the address behind it.
    channel: &'a str,
    key: &'a str,
    message: &'a Message,
    /// The run that it is about, and its commit.
    run: Option<(RunId, &'a Commit)>,
}

impl<'a> Sending<'a> {
    /// Returns the value of a secret. One that is missing is an answer: asking again does not set it.
    fn secret(&self, name: &str) -> Result<&'a str, NotSent> {
        self.secrets.get(name).map_err(|missing| NotSent::failed(missing.to_string()))
    }

    async fn send(&self) -> Result<String, NotSent> {
        let channel = Channel::parse(self.channel)
            .map_err(|wrong| NotSent::failed(format!("{:?} is no channel: {wrong}", self.channel)))?;
        match channel {
            Channel::Author => email::send(self, email::To::Author).await,
            Channel::Email(address) => email::send(self, email::To::Address(address)).await,
            Channel::Slack(url) => webhook::send(self, url, None, &form::slack(self.message)).await,
            Channel::Discord(url) => webhook::send(self, url, None, &form::discord(self.message)).await,
            Channel::Teams(url) => webhook::send(self, url, None, &form::teams(self.message)).await,
            Channel::Webhook { url, key } => {
                let signer = key.map(|name| webhook::Signer { name, at: SystemTime::now() });
                webhook::send(self, url, signer, &form::json(self.message, SystemTime::now())).await
            }
        }
    }

    async fn send_within(&self, limit: Duration) -> Result<String, NotSent> {
        let sent = match tokio::time::timeout(limit, self.send()).await {
            Ok(sent) => sent,
            Err(_) => {
                Err(NotSent::errored(format!("{} gave no answer within {}", self.channel, written(limit))))
            }
        };
        sent.map(|receipt| self.masker.mask(&receipt))
            .map_err(|not_sent| not_sent.with_reason(|reason| self.masker.mask(reason)))
    }
}

/// Sends a notice and returns what the receiver said.
pub(crate) async fn run(context: &Context, order: &NoticeOrder) -> Result<String, NotSent> {
    run_within(context, order, LIMIT).await
}

async fn run_within(context: &Context, order: &NoticeOrder, limit: Duration) -> Result<String, NotSent> {
    let masker = context.secrets.masker(order.run.settings.as_deref());
    let evidence = evidence::recall(context, &order.run).await;
    let message = Message::about(&order.run, &order.notice, evidence, &masker);
    let sending = Sending {
        http: &context.http,
        secrets: &context.secrets,
        masker: &masker,
        channel: &order.notice.channel,
        key: order.key.as_str(),
        message: &message,
        run: Some((order.run.id, order.run.commit())),
    };
    sending.send_within(limit).await
}

/// Sends notices that are about the server and about no run.
#[derive(Clone, Debug)]
pub struct Notifier {
    http: reqwest::Client,
    secrets: Arc<Secrets>,
}

impl Notifier {
    pub(crate) const fn new(http: reqwest::Client, secrets: Arc<Secrets>) -> Self {
        Self { http, secrets }
    }

    /// Sends a notice through a channel and returns what the receiver said. Every try of it has the same `key`.
    ///
    /// # Errors
    ///
    /// [`NotSent`], without the address behind the channel.
    pub async fn send(&self, channel: &str, key: &str, notice: &ServerNotice) -> Result<String, NotSent> {
        let masker = self.masker(channel);
        let message = Message::of_server(notice, &masker);
        let Self { http, secrets } = self;
        let sending = Sending { http, secrets, masker: &masker, channel, key, message: &message, run: None };
        sending.send_within(LIMIT).await
    }

    /// Returns what keeps anything from being sent through a channel, as far as that can be seen from here.
    pub fn objection(&self, channel: &str) -> Option<String> {
        match Channel::parse(channel) {
            Ok(Channel::Author) => Some("the server's own notices have no author: name an address".into()),
            Ok(Channel::Email(_)) => self.missing([SMTP_URL, MAIL_FROM]),
            Ok(channel) => self.missing(channel.secrets()),
            Err(wrong) => Some(format!("{wrong}; {}", wrong.help())),
        }
    }

    fn missing<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
        names.into_iter().find_map(|name| self.secrets.get(name).err()).map(|missing| missing.to_string())
    }

    fn masker(&self, channel: &str) -> Masker {
        let named = Channel::parse(channel).map(|channel| channel.secrets().collect::<Vec<_>>());
        let named = named.unwrap_or_default().into_iter().chain([SMTP_URL]);
        Masker::new(named.filter_map(|name| self.secrets.get(name).ok()))
    }
}

#[cfg(test)]
#[path = "notify/tests.rs"]
mod tests;
