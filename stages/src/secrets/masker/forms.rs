//! The texts by which a value can be seen in some output.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{PART_CHARS_MIN, SECRET_CHARS_MIN};

/// Characters that are left as they are by those who write a text for a URL: by the RFC, by Python's `quote`, by
/// JavaScript's `encodeURIComponent` and by its `encodeURI`.
const LEFT_IN_URLS: [&[u8]; 4] = [b"", b"/", b"!'()*", b"!'()*;,/?:@&=+$#"];

/// How long the lines are in which MIME, and PEM, write base64.
const BASE64_LINES: [usize; 2] = [76, 64];

/// Returns the forms of a value; none for one that is too short to be hidden.
pub(super) fn of(value: &str) -> Vec<String> {
    let value = value.trim_matches(['\r', '\n']);
    if value.chars().count() < SECRET_CHARS_MIN {
        return Vec::new();
    }
    let mut forms = encodings(value);
    forms.extend(url_path(value).filter(|path| path.chars().count() >= PART_CHARS_MIN).map(str::to_owned));
    if let Some(password) = url_password(value) {
        forms.extend(encodings(&percent_decoded(password)));
        forms.extend(encodings(password));
    }
    forms.retain(|form| form.chars().count() >= SECRET_CHARS_MIN);
    forms
}

fn encodings(value: &str) -> Vec<String> {
    let unix = value.replace("\r\n", "\n");
    let mut forms = vec![value.to_owned(), unix.replace('\n', "\r\n"), unix];
    forms.extend(in_json(value));
    forms.extend(LEFT_IN_URLS.iter().flat_map(|left| in_url(value, left)));
    forms.extend(in_base64(value.as_bytes()));
    forms
}

/// Returns the text between the quotes, with other alphabets as they are and as Python writes them.
fn in_json(value: &str) -> [String; 2] {
    let quoted = serde_json::Value::from(value).to_string();
    let plain = quoted[1..quoted.len() - 1].to_owned();
    let mut ascii = String::with_capacity(plain.len());
    let mut units = [0; 2];
    for char in plain.chars() {
        match char.is_ascii() {
            true => ascii.push(char),
            false => char.encode_utf16(&mut units).iter().for_each(|unit| ascii += &format!("\\u{unit:04x}")),
        }
    }
    [plain, ascii]
}

fn in_url(value: &str, left: &[u8]) -> [String; 4] {
    let upper = percent_encoded(value, left, |byte| format!("%{byte:02X}"));
    let lower = percent_encoded(value, left, |byte| format!("%{byte:02x}"));
    [upper.replace("%20", "+"), lower.replace("%20", "+"), upper, lower]
}

fn percent_encoded(value: &str, left: &[u8], escape: impl Fn(u8) -> String) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || left.contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { escape(byte) };
    value.bytes().map(encode).collect()
}

/// Returns the value in both alphabets, for each of the three places that it can have in a longer text such as
/// `user:password`, and by itself in lines.
fn in_base64(value: &[u8]) -> Vec<String> {
    let mut forms: Vec<String> = (0..3).filter_map(|before| base64_inner(value, before)).collect();
    let in_lines: Vec<String> =
        BASE64_LINES.iter().filter_map(|length| Some(in_lines(forms.first()?, *length))).collect();
    forms.extend(in_lines);
    forms.retain(|form| form.len() >= SECRET_CHARS_MIN);
    let for_urls: Vec<String> = forms.iter().map(|form| form.replace('+', "-").replace('/', "_")).collect();
    forms.extend(for_urls);
    forms
}

/// Returns the characters of the base64 text that depend on the value alone, after so many other bytes.
fn base64_inner(value: &[u8], before: usize) -> Option<String> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(value);
    let first = (before * 8).div_ceil(6);
    STANDARD.encode(&bytes).get(first..bytes.len() * 8 / 6).map(str::to_owned)
}

fn in_lines(text: &str, length: usize) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / length);
    for (at, char) in text.char_indices() {
        if at > 0 && at % length == 0 {
            lines.push('\n');
        }
        lines.push(char);
    }
    lines
}

/// Returns what of a web address is its secret even without the host.
fn url_path(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once("://")?;
    let path = rest.find('/').map(|at| &rest[at..]);
    path.filter(|_| matches!(scheme, "http" | "https"))
}

fn url_password(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    user_info.split_once(':').map(|(_, password)| password)
}

/// Returns the text with its `%20`s read; what is no escape stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
