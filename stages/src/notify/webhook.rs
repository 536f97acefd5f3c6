//! A JSON body to a URL that is a secret.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use landfall_engine::core::command::NotSent;
use reqwest::RequestBuilder;
use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::Sending;
use super::sign;
use super::sign::SigningKey;
use crate::http;
use crate::lines::clip;

/// So much of a refusal is enough to see why.
const QUOTED_BYTES_MAX: usize = 200;

/// Signs a request in the form of Standard Webhooks.
pub(super) struct Signer<'a> {
    /// Name of the secret.
    pub(super) name: &'a str,
    /// When it is sent.
    pub(super) at: SystemTime,
}

/// Posts a body and returns the status that came back.
pub(super) async fn send(
    sending: &Sending<'_>,
    secret: &str,
    signer: Option<Signer<'_>>,
    body: &Value,
) -> Result<String, NotSent> {
    let url = Url::parse(sending.secret(secret)?.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            NotSent::failed(format!("the secret {secret} is no address: expected https://… or http://…"))
        })?;
    let body = body.to_string().into_bytes();
    let mut request = sending.http.post(url).header("Idempotency-Key", sending.key);
    if let Some(signer) = signer {
        request = signed(sending, request, &signer, &body)?;
    }
    let request = request.header(CONTENT_TYPE, "application/json").body(body);
    let channel = sending.channel;
    let response = request
        .send()
        .await
        .map_err(|error| NotSent::errored(format!("{channel} gave no answer: {}", http::cause(&error))))?;
    let status = response.status();
    if status.is_success() {
        return Ok(status.to_string());
    }
    let retry_after = http::retry_after(response.headers());
    // Masked before it is cut, since a receiver may quote the URL that it refuses.
    let said = sending.masker.mask(&http::beginning(response).await);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(refusal(
        status,
        retry_after,
        format!("{channel} answered {status} (\"{}\")", clip(&said, QUOTED_BYTES_MAX)),
    ))
}

fn signed(
    sending: &Sending<'_>,
    request: RequestBuilder,
    signer: &Signer<'_>,
    body: &[u8],
) -> Result<RequestBuilder, NotSent> {
    let key = SigningKey::parse(sending.secret(signer.name)?).ok_or_else(|| {
        NotSent::failed(format!("the secret {} is no signing key: expected {}", signer.name, sign::EXPECTED))
    })?;
    let timestamp = signer.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(request
        .header("webhook-id", sending.key)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", key.sign(sending.key, timestamp, body)))
}

/// Tells the answers that stay what they are from those that may be others later.
fn refusal(status: StatusCode, retry_after: Option<Duration>, reason: String) -> NotSent {
    if !http::may_change(status) {
        return NotSent::Failed { reason };
    }
    let retry_after_ms = retry_after.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    NotSent::Errored { reason, retry_after_ms }
}
