//! An e-mail through the mail server that `LANDFALL_SMTP_URL` names.

use landfall_engine::core::command::NotSent;
use lettre::Address;
use lettre::AsyncSmtpTransport;
use lettre::AsyncTransport;
use lettre::Message as Mail;
use lettre::Tokio1Executor;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::message::header::HeaderName;
use lettre::message::header::HeaderValue;
use reqwest::Url;
use sha2::Digest;
use sha2::Sha256;

use super::Sending;
use super::form;
use crate::secrets::MAIL_FROM;
use crate::secrets::SMTP_URL;

/// The port of mail between servers: what a URL without a port and without a login means.
const SMTP_PORT: u16 = 25;

/// To whom.
pub(super) enum To<'a> {
    /// Whoever made the commit.
    Author,
    /// This address.
    Address(&'a str),
}

/// Hands the mail to the server and returns what it said.
pub(super) async fn send(sending: &Sending<'_>, to: To<'_>) -> Result<String, NotSent> {
    let mail = mail(sending, to)?;
    let url = with_encryption(sending.secret(SMTP_URL)?.trim()).ok_or_else(|| {
        NotSent::failed(format!(
            "{SMTP_URL} is no mail server: expected smtp://user:password@host:port or smtps://…"
        ))
    })?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&url)
        .map_err(|_| {
            NotSent::failed(format!(
                "{SMTP_URL} is not understood: expected smtp://… or smtps://…, and ?tls=required, opportunistic or none"
            ))
        })?
        .build::<Tokio1Executor>();
    let answer = transport.send(mail).await.map_err(|error| refusal(&error))?;
    let said = answer.message().collect::<Vec<_>>().join(" ");
    Ok(format!("{} {said}", answer.code()).trim_end().to_owned())
}

/// A 5yz is an answer; a 4yz, and silence, may be others later.
fn refusal(error: &lettre::transport::smtp::Error) -> NotSent {
    let reason = format!("the mail server: {}", chain(error));
    if error.is_permanent() { NotSent::failed(reason) } else { NotSent::errored(reason) }
}

fn mail(sending: &Sending<'_>, to: To<'_>) -> Result<Mail, NotSent> {
    let to = mailbox(sending, to).map_err(NotSent::failed)?;
    let from: Mailbox = sending.secret(MAIL_FROM)?.trim().parse().map_err(|_| {
        NotSent::failed(format!("{MAIL_FROM} is no sender: expected Landfall <landfall@example.com>"))
    })?;
    let domain = from.email.domain().to_owned();
    let mut mail = Mail::builder()
        .from(from)
        .to(to)
        .subject(&sending.message.title)
        .message_id(Some(message_id(sending.key, &domain)))
        .raw_header(plain_header("Auto-Submitted", "auto-generated"));
    if let Some((run, _)) = sending.run {
        mail = mail.raw_header(plain_header("X-Landfall-Run", &run.to_string()));
    }
    mail.header(ContentType::TEXT_PLAIN)
        .body(form::text(sending.message))
        .map_err(|error| NotSent::failed(format!("the mail could not be written: {error}")))
}

fn mailbox(sending: &Sending<'_>, to: To<'_>) -> Result<Mailbox, String> {
    match (to, sending.run) {
        (To::Author, Some((_, commit))) => address(&commit.email)
            .map(|address| Mailbox::new(Some(commit.author.clone()), address))
            .ok_or_else(|| format!("the author's address {:?} is no e-mail address", commit.email)),
        (To::Author, None) => Err("the server's own notices have no author: name an address".into()),
        (To::Address(text), _) => address(text)
            .map(|address| Mailbox::new(None, address))
            .ok_or_else(|| format!("{text:?} is no e-mail address")),
    }
}

fn address(text: &str) -> Option<Address> {
    text.trim().parse().ok()
}

/// The same for each try, so that a mailbox shows one mail.
fn message_id(key: &str, domain: &str) -> String {
    let hash: String =
        Sha256::digest(key.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("<landfall.{hash}@{domain}>")
}

fn plain_header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Returns the URL with a word on encryption: a login never leaves this machine in clear text unless
/// `?tls=none` says so.
fn with_encryption(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok().filter(|url| url.has_host())?;
    let asked: Option<String> =
        url.query_pairs().find(|(key, _)| key == "tls").map(|(_, value)| value.into_owned());
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match (url.scheme(), asked.as_deref()) {
        ("smtps", _) | ("smtp", Some("required" | "opportunistic")) => {}
        ("smtp", Some("none")) => url.set_query(None),
        ("smtp", None) if is_here => {}
        ("smtp", None) if url.password().is_some() => url.set_query(Some("tls=required")),
        ("smtp", None) => {
            let port = url.port().unwrap_or(SMTP_PORT);
            url.set_port(Some(port)).ok()?;
            url.set_query(Some("tls=opportunistic"));
        }
        _ => return None,
    }
    Some(url.to_string())
}

fn chain(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        let said = below.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        source = below.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_not_sent_in_clear_text_to_another_machine() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(with_encryption(url).as_deref(), expected, "{url}");
        };
        check("smtp://u:p@mail.example.com", Some("smtp://u:p@mail.example.com?tls=required"));
        check("smtp://mail.example.com", Some("smtp://mail.example.com:25?tls=opportunistic"));
        check("smtp://u:p@127.0.0.1:2525", Some("smtp://u:p@127.0.0.1:2525"));
        check("smtp://u:p@10.0.0.1?tls=none", Some("smtp://u:p@10.0.0.1"));
        check("smtps://u:p@mail.example.com", Some("smtps://u:p@mail.example.com"));
        check("http://mail.example.com", None);
        check("mail.example.com", None);
    }

    #[test]
    fn the_message_id_belongs_to_the_notice_and_not_to_the_try() {
        let id = |key| message_id(key, "example.com");
        assert_eq!(id("run/notice/a"), id("run/notice/a"));
        assert_ne!(id("run/notice/a"), id("run/notice/b"));
        assert!(id("x").ends_with("@example.com>"));
    }
}
