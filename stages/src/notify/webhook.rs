//! A JSON body to a URL that is a secret.

use landfall_engine::ports::NoticeOrder;
use reqwest::Url;
use serde_json::Value;

use crate::context::Context;
use crate::http;
use crate::lines::clip;

/// So much of a refusal is enough to see why.
const QUOTED_BYTES_MAX: usize = 200;
/// And so much of it is read.
const READ_BYTES_MAX: usize = 4_096;

/// Posts a body and returns the status that came back.
pub(super) async fn send(
    context: &Context,
    channel: &str,
    secret: &str,
    order: &NoticeOrder,
    body: &Value,
) -> Result<String, String> {
    let value = context.secrets.get(secret).map_err(|missing| missing.to_string())?;
    let url = Url::parse(value.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| format!("the secret {secret} is no address: expected https://… or http://…"))?;
    let request = context.http.post(url).header("Idempotency-Key", order.key.as_str()).json(body);
    let response =
        request.send().await.map_err(|error| format!("{channel} gave no answer: {}", http::cause(&error)))?;
    let status = response.status();
    if status.is_success() {
        return Ok(status.to_string());
    }
    let masker = context.secrets.masker(order.run.settings.as_deref());
    // Masked before it is cut, since a receiver may quote the URL that it refuses.
    let said = masker.mask(&String::from_utf8_lossy(&beginning(response).await));
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(format!("{channel} answered {status} (\"{}\")", clip(&said, QUOTED_BYTES_MAX)))
}

async fn beginning(mut response: reqwest::Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() >= READ_BYTES_MAX {
            break;
        }
    }
    bytes
}
