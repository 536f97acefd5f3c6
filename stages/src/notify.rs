//! Tells people how a run ended, through one channel: Slack, a webhook, or e-mail.
//!
//! Every try of a notice carries the same key, so that the receiver can drop what it has already.
//! **No error names the address it was sent to**: the URL of a webhook is a password.

mod email;
mod message;
mod webhook;

use std::time::Duration;
use std::time::SystemTime;

use landfall_engine::ports::NoticeOrder;

use crate::context::Context;
use crate::evidence;
use crate::http::written;
use message::Message;

/// Receivers answer in tens of milliseconds; who waits longer is down, and is tried again later.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends a notice and returns what the receiver said.
pub(crate) async fn run(context: &Context, order: &NoticeOrder) -> Result<String, String> {
    run_within(context, order, LIMIT).await
}

async fn run_within(context: &Context, order: &NoticeOrder, limit: Duration) -> Result<String, String> {
    let masker = context.secrets.masker(order.run.settings.as_deref());
    let evidence = evidence::recall(context, &order.run).await;
    let message = Message::about(&order.run, &order.notice, evidence, &masker);
    let sent = match tokio::time::timeout(limit, send(context, order, &message)).await {
        Ok(sent) => sent,
        Err(_) => Err(format!("{} gave no answer within {}", order.notice.channel, written(limit))),
    };
    sent.map(|receipt| masker.mask(&receipt)).map_err(|reason| masker.mask(&reason))
}

async fn send(context: &Context, order: &NoticeOrder, message: &Message) -> Result<String, String> {
    let channel = order.notice.channel.as_str();
    match channel.split_once(':') {
        Some(("slack", secret)) => webhook::send(context, channel, secret, order, &message.slack()).await,
        Some(("webhook", secret)) => {
            let body = message.json(SystemTime::now());
            webhook::send(context, channel, secret, order, &body).await
        }
        Some(("email", to)) => email::send(context, to, order, message).await,
        _ => Err(format!(
            "{channel:?} is no channel: expected email:author, email:ADDRESS, slack:SECRET or webhook:SECRET"
        )),
    }
}

#[cfg(test)]
#[path = "notify/tests.rs"]
mod tests;
