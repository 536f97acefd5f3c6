//! One request, and whether its answer is what was expected. [`judge`] is pure.

use std::borrow::Cow;
use std::time::Duration;

use landfall_engine::core::effect::HTTP_CHECK_LIMIT_MS;
use landfall_engine::core::facts::SmokePassed;
use landfall_engine::core::settings::HttpCheck;
use landfall_engine::core::settings::Settings;
use reqwest::StatusCode;

use super::Target;
use super::json;
use crate::context::Context;
use crate::http;
use crate::http::Answer;
use crate::http::NoAnswer;
use crate::lines::clip;
use crate::secrets::Masker;
use crate::stopped::Stopped;

/// So much of a body is enough to recognize an error page.
const QUOTED_CHARS_MAX: usize = 200;
/// What the traffic proxy answers when the app did not: 502 when it hung up, 504 when it took too long.
const SAYS_SILENCE: [u16; 2] = [502, 504];
/// A header or a JSON value that is longer is not shown whole.
const SHOWN_BYTES_MAX: usize = 200;

/// Makes one check. Where it names no status, all from 200 to the one before `end` are good.
pub(super) async fn check(
    context: &Context,
    settings: &Settings,
    target: &Target<'_>,
    check: &HttpCheck,
    end: u16,
) -> Result<SmokePassed, Stopped> {
    let limit = Duration::from_millis(check.within_ms.unwrap_or(HTTP_CHECK_LIMIT_MS));
    let Target { watched, address, host, is_app } = *target;
    let path =
        if is_app { Cow::Borrowed(check.path.as_str()) } else { settings.proxy.public_path(&check.path) };
    let get = http::Get { address, host, path: &path, probe: false, limit };
    match http::get(&context.http, get).await {
        Ok(answer) => {
            let masker = context.secrets.masker(Some(settings));
            if let Err(reason) = judge(check, end, &answer, &masker) {
                let is_silence = !is_app && SAYS_SILENCE.contains(&answer.status);
                return Err(if is_silence { watched.silent(reason).await } else { Stopped::failed(reason) });
            }
            let took_ms = u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX);
            Ok(SmokePassed { check: format!("GET {} = {}", check.path, answer.status), took_ms })
        }
        Err(NoAnswer::Unconnected(why)) if !is_app => {
            Err(Stopped::Errored(format!("nobody takes connections at http://{address}: {why}")))
        }
        Err(NoAnswer::Late) => {
            let limit = http::written(limit);
            let reason = format!("GET {} expected an answer within {limit}, found none", check.path);
            Err(watched.silent(reason).await)
        }
        Err(NoAnswer::Unconnected(why) | NoAnswer::Broken(why)) => {
            let expected = status_text(check, end);
            let reason = format!("GET {} expected {expected}, found no answer ({why})", check.path);
            Err(watched.silent(reason).await)
        }
    }
}

/// Says what is expected and what was found, when they differ.
fn judge(check: &HttpCheck, end: u16, answer: &Answer, masker: &Masker) -> Result<(), String> {
    let differs = |expected: String, found: String| {
        Err(format!("GET {} expected {expected}, found {found}", check.path))
    };
    let body = || quoted(answer, masker);
    if !check.status.map_or((200..end).contains(&answer.status), |status| status == answer.status) {
        return differs(status_text(check, end), format!("{} ({})", status_name(answer), body()));
    }
    for (name, value) in &check.header {
        if let Some(found) = header_differs(answer, name, value) {
            let expected = if value.is_empty() { String::new() } else { format!(" {value:?}") };
            return differs(format!("header {name}{expected}"), masker.mask(&found));
        }
    }
    if let Some(text) = &check.contains
        && !String::from_utf8_lossy(&answer.body).contains(text.as_str())
    {
        return differs(format!("a body that contains {text:?}"), body());
    }
    if let Some(expected) = &check.json {
        let found = match serde_json::from_slice(&answer.body) {
            Ok(found) => found,
            Err(_) => return differs("a JSON body".into(), body()),
        };
        if let Some(difference) = json::first_difference(expected, &found) {
            let json::Difference { path, expected, found } = difference;
            let found = clip(&masker.mask(&found), SHOWN_BYTES_MAX);
            return differs(format!("JSON {path} = {}", clip(&expected, SHOWN_BYTES_MAX)), found);
        }
    }
    Ok(())
}

fn status_text(check: &HttpCheck, end: u16) -> String {
    match check.status {
        Some(status) => format!("status {status}"),
        None => format!("a status from 200 to {}", end - 1),
    }
}

fn status_name(answer: &Answer) -> String {
    let location = answer.header("location").filter(|_| (300..400).contains(&answer.status));
    let name = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    match (location, name) {
        (Some(location), _) => format!("{} to {}", answer.status, clip(location, SHOWN_BYTES_MAX)),
        (None, Some(name)) => format!("{} {name}", answer.status),
        (None, None) => answer.status.to_string(),
    }
}

/// Returns what was found instead of a header. A value may go on with parameters: `text/html; charset=utf-8`.
fn header_differs(answer: &Answer, name: &str, expected: &str) -> Option<String> {
    let values: Vec<_> = answer.headers.get_all(name).iter().collect();
    let fits = |value: &str| {
        let rest = value.trim().strip_prefix(expected);
        expected.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.trim_start().starts_with(';'))
    };
    if values.iter().any(|value| value.to_str().map_or(expected.is_empty(), fits)) {
        return None;
    }
    Some(match values.first() {
        None => "no such header".into(),
        Some(value) => format!("{:?}", clip(&String::from_utf8_lossy(value.as_bytes()), SHOWN_BYTES_MAX)),
    })
}

/// Shows the beginning of a body on one line. It is masked before it is cut.
fn quoted(answer: &Answer, masker: &Masker) -> String {
    let text = masker.mask(&String::from_utf8_lossy(&answer.body));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let limit = if answer.cut { ", of which the first 1 MiB was read" } else { "" };
    if text.is_empty() {
        return "an empty body".into();
    }
    let shown: String = text.chars().filter(|char| !char.is_control()).take(QUOTED_CHARS_MAX).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("\"{shown}{more}\"{limit}")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use reqwest::header::HeaderName;

    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap())
        };
        let headers: HeaderMap = headers.iter().map(pair).collect();
        Answer { status, headers, body: body.into(), ..Answer::default() }
    }

    fn get(path: &str) -> HttpCheck {
        HttpCheck { path: path.into(), ..HttpCheck::default() }
    }

    #[track_caller]
    fn says(check: &HttpCheck, answer: &Answer, expected: &str) {
        assert_eq!(judge(check, 300, answer, &Masker::new(["hunter2!"])), Err(expected.to_owned()));
    }

    #[track_caller]
    fn passes(check: &HttpCheck, answer: &Answer) {
        assert_eq!(judge(check, 300, answer, &Masker::default()), Ok(()));
    }

    #[test]
    fn any_2xx_is_good_unless_a_status_is_named() {
        passes(&get("/"), &answer(204, &[], ""));
        says(
            &get("/"),
            &answer(302, &[("location", "/login")], ""),
            "GET / expected a status from 200 to 299, found 302 to /login (an empty body)",
        );
        let named = HttpCheck { status: Some(404), ..get("/gone") };
        passes(&named, &answer(404, &[], ""));
        says(&named, &answer(200, &[], "here"), "GET /gone expected status 404, found 200 OK (\"here\")");
    }

    #[test]
    fn a_redirect_is_good_where_nothing_was_configured() {
        assert_eq!(judge(&get("/"), 400, &answer(302, &[], ""), &Masker::default()), Ok(()));
    }

    #[test]
    fn a_failure_quotes_the_body_on_one_line_and_without_secrets() {
        let page = format!("Service\n\tUnavailable hunter2! {}", "x".repeat(300));
        let check = HttpCheck { status: Some(200), ..get("/api") };
        says(
            &check,
            &answer(503, &[], &page),
            &format!(
                "GET /api expected status 200, found 503 Service Unavailable (\"Service Unavailable *** {}…\")",
                "x".repeat(200 - 24)
            ),
        );
    }

    #[test]
    fn a_text_must_be_in_the_body() {
        let check = HttpCheck { contains: Some("Shop".into()), ..get("/") };
        passes(&check, &answer(200, &[], "The Shop."));
        says(
            &check,
            &answer(200, &[], "nope"),
            "GET / expected a body that contains \"Shop\", found \"nope\"",
        );
        let cut = Answer { cut: true, ..answer(200, &[], "nope") };
        says(
            &check,
            &cut,
            "GET / expected a body that contains \"Shop\", found \"nope\", of which the first 1 MiB was read",
        );
    }

    #[test]
    fn a_header_must_be_there_or_have_its_value() {
        let check = |name: &str, value: &str| HttpCheck {
            header: [(name.to_owned(), value.to_owned())].into(),
            ..get("/")
        };
        let page = answer(200, &[("content-type", "text/html; charset=utf-8"), ("etag", "1")], "");
        passes(&check("Content-Type", "text/html"), &page);
        passes(&check("ETag", ""), &page);
        says(
            &check("X-Frame-Options", ""),
            &page,
            "GET / expected header X-Frame-Options, found no such header",
        );
        says(&check("etag", "2"), &page, "GET / expected header etag \"2\", found \"1\"");
        says(
            &check("Content-Type", "text/htm"),
            &page,
            "GET / expected header Content-Type \"text/htm\", found \"text/html; charset=utf-8\"",
        );
    }

    #[test]
    fn json_is_compared_by_what_is_named() {
        let check = HttpCheck { json: Some(serde_json::json!({ "ok": true })), ..get("/api") };
        passes(&check, &answer(200, &[], r#"{"ok": true, "more": 1}"#));
        says(
            &check,
            &answer(200, &[], r#"{"ok": false}"#),
            "GET /api expected JSON $.ok = true, found false",
        );
        says(&check, &answer(200, &[], "<html>"), "GET /api expected a JSON body, found \"<html>\"");
    }
}
