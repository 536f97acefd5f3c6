//! Single values: what is accepted, and what is said about the rest.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use toml::de::DeValue;

use super::problem::Problem;
use super::section::Read;
use super::section::Value;
use super::section::mismatch;
use crate::notify::Channel;
use crate::plan;
use crate::secrets;

/// Nothing in a deploy is meant to wait longer; more is a slip of the unit.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Docker refuses to start a container with less.
const MEMORY_MB_MIN: u64 = 6;
/// One TiB: more is a slip of the unit.
const MEMORY_MB_MAX: u64 = 1 << 20;

/// What tests need beside them is a database, a cache, a queue.
const SERVICES_MAX: usize = 20;

/// Longest text of a single line: a path, a host, a command.
const TEXT_BYTES_MAX: usize = 4_096;

pub(super) fn text(value: &Value<'_>) -> Read<String> {
    let text = value.get_ref().as_str().ok_or_else(|| mismatch("a text in quotes", value))?;
    if text.trim().is_empty() {
        return Err(mismatch("a text that is not empty", value));
    }
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        return Err(mismatch("a text of at most 4096 bytes, without a NUL", value));
    }
    Ok(text.to_owned())
}

pub(super) fn boolean(value: &Value<'_>) -> Read<bool> {
    value.get_ref().as_bool().ok_or_else(|| mismatch("true or false", value))
}

pub(super) fn integer<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Value<'_>) -> Read<T> {
    move |value| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        number
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| mismatch(&expected, value))
    }
}

/// Reads `30s`, `5m`, `1h 30m`, `500ms`; zero only where `zero` says so.
pub(super) fn duration_ms(zero: bool) -> impl Fn(&Value<'_>) -> Read<u64> {
    move |value| {
        let expected = "a duration such as \"30s\", \"5m\" or \"500ms\"";
        let bare = match value.get_ref() {
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::String(text) if text.parse::<f64>().is_ok() => Some(text.clone().into_owned()),
            _ => None,
        };
        if let Some(bare) = bare {
            return Err(mismatch(expected, value).help(format!(
                "a duration has a unit: write \"{bare}s\" for seconds, \"{bare}m\" for minutes"
            )));
        }
        let text = value.get_ref().as_str().ok_or_else(|| mismatch(expected, value))?;
        let duration = humantime::parse_duration(text).map_err(|_| mismatch(expected, value))?;
        if duration > DURATION_MAX {
            return Err(mismatch("a duration of at most 7 days", value));
        }
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 && !zero {
            return Err(mismatch("a duration of at least 1 ms", value));
        }
        Ok(ms)
    }
}

/// Reads `512MiB`, `2GiB`, or a number of MiB.
pub(super) fn memory_mb(value: &Value<'_>) -> Read<u64> {
    let expected = "an amount of memory such as \"512MiB\" or \"2GiB\"";
    let mb = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok(),
        DeValue::String(text) => memory_text(text),
        _ => None,
    };
    let mb: u64 = mb.ok_or_else(|| mismatch(expected, value))?;
    if !(MEMORY_MB_MIN..=MEMORY_MB_MAX).contains(&mb) {
        return Err(mismatch("memory from \"6MiB\" to \"1024GiB\"", value));
    }
    Ok(mb)
}

fn memory_text(text: &str) -> Option<u64> {
    let digits = text.trim().find(|char: char| !char.is_ascii_digit() && char != '.')?;
    let (number, unit) = text.trim().split_at(digits);
    let number: f64 = number.parse().ok()?;
    let mib = match unit.trim().to_ascii_lowercase().as_str() {
        "m" | "mi" | "mib" => 1.0,
        "g" | "gi" | "gib" => 1_024.0,
        "mb" => 1e6 / 1_048_576.0,
        "gb" => 1e9 / 1_048_576.0,
        _ => return None,
    };
    Some((number * mib) as u64)
}

/// Reads a number of cores such as `1.5`, as thousandths.
pub(super) fn cpu_millis(value: &Value<'_>) -> Read<u64> {
    let cores: Option<f64> = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok(),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    };
    cores
        .filter(|cores| (0.01..=1024.0).contains(cores))
        .map(|cores| (cores * 1000.0).round() as u64)
        .ok_or_else(|| mismatch("a number of cores from 0.01 to 1024, such as 1.5", value))
}

/// Reads a list, each item by the same rule.
pub(super) fn list<T>(item: impl Fn(&Value<'_>) -> Read<T>) -> impl Fn(&Value<'_>) -> Read<Vec<T>> {
    move |value| {
        let items = value.get_ref().as_array().ok_or_else(|| mismatch("a list such as [\"…\"]", value))?;
        items.iter().map(&item).collect()
    }
}

/// Reads variables: a table of names and texts, numbers or booleans.
pub(super) fn variables(value: &Value<'_>) -> Read<BTreeMap<String, String>> {
    let table = value.get_ref().as_table().ok_or_else(|| mismatch("a table of names and values", value))?;
    let pairs = table.iter().map(|(name, value)| {
        if !is_variable(name.get_ref()) {
            let message = format!("expected a name of letters, digits and '_', found {:?}", name.get_ref());
            return Err(Problem::at(name.span(), message));
        }
        let text = match value.get_ref() {
            DeValue::String(text) if !text.contains('\0') => text.clone().into_owned(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            _ => return Err(mismatch(&format!("a text for {}", name.get_ref()), value)),
        };
        Ok((name.get_ref().clone().into_owned(), text))
    });
    pairs.collect()
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Reads files of a container: a table of paths in it and the secrets that they hold.
pub(super) fn secret_files(value: &Value<'_>) -> Read<BTreeMap<String, String>> {
    let expected =
        "a table of paths and names of secrets, such as { \"/run/secrets/key.pem\" = \"KEY_PEM\" }";
    let table = value.get_ref().as_table().ok_or_else(|| mismatch(expected, value))?;
    let files = table.iter().map(|(path, secret)| {
        match is_file_path(path.get_ref()) {
            true => Ok((path.get_ref().clone().into_owned(), secret_name(secret)?)),
            false => Err(Problem::at(
                path.span(),
                format!(
                    "expected the path of a file in a folder of the container, without '..', and not below /proc, /sys, \
                     /dev or /tmp; found {:?}",
                    path.get_ref()
                ),
            )
            .help("such as \"/run/secrets/key.pem\"")),
        }
    });
    files.collect()
}

/// A path that leads where it says, in a folder where a file stays: `/tmp` can be emptied at each start.
fn is_file_path(path: &str) -> bool {
    let plain =
        |part: &&str| !part.is_empty() && !matches!(*part, "." | "..") && !part.contains(char::is_control);
    let Some(parts) = path.strip_prefix('/').map(|path| path.split('/').collect::<Vec<_>>()) else {
        return false;
    };
    let is_elsewhere = ["proc", "sys", "dev", "tmp"].contains(&parts[0]);
    path.len() <= TEXT_BYTES_MAX && parts.len() >= 2 && parts.iter().all(plain) && !is_elsewhere
}

/// Reads the name of a secret. What is none is not quoted: it may be the secret itself.
pub(super) fn secret_name(value: &Value<'_>) -> Read<String> {
    let wrong = |message: &str| {
        Problem::at(value.span(), message)
            .help("secrets are named here and never written: `landfall secret set APP NAME` keeps the value")
            .hidden()
    };
    let name = value.get_ref().as_str().ok_or_else(|| wrong("expected the name of a secret in quotes"))?;
    if !secrets::is_name(name) {
        return Err(wrong("expected the name of a secret, of A-Z, 0-9 and '_', such as \"DATABASE_URL\""));
    }
    if secrets::is_ours(name) {
        return Err(Problem::at(value.span(), "names that begin with LANDFALL_ are Landfall's own"));
    }
    Ok(name.to_owned())
}

/// Reads `["NAME"]`: exactly one secret.
pub(super) fn one_secret(value: &Value<'_>) -> Read<String> {
    let message = "expected a list with the name of one secret, such as [\"REGISTRY_PASSWORD\"]";
    match value.get_ref().as_array().map(|list| list.iter().collect::<Vec<_>>()).as_deref() {
        Some([one]) => secret_name(one),
        _ => Err(Problem::at(value.span(), message)
            .help("secrets are named here and never written: `landfall secret set APP NAME` keeps the value")
            .hidden()),
    }
}

/// The rule for service names; they stand in image names, container names and host names.
pub(super) fn is_service(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=40).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(super) const SERVICE_RULE: &str = "1 to 40 of a-z, 0-9 and '-', with a letter or digit at both ends";

pub(super) fn service(value: &Value<'_>) -> Read<String> {
    let name = text(value)?;
    if is_service(&name) { Ok(name) } else { Err(mismatch(SERVICE_RULE, value)) }
}

pub(super) fn registry_server(value: &Value<'_>) -> Read<String> {
    let server = text(value)?;
    match plan::split_repository(&format!("{server}/{}", "x".repeat(40))) {
        Ok(_) => Ok(server),
        Err(_) => Err(mismatch("host or host:port, with a folder where there is one", value).help(
            "such as \"127.0.0.1:5000\" or \"ghcr.io/acme\": without http://, and lower case after the host",
        )),
    }
}

pub(super) fn image(value: &Value<'_>) -> Read<String> {
    static IMAGE: LazyLock<Regex> = LazyLock::new(|| {
        let part = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
        let host = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?";
        let end = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?";
        Regex::new(&format!("^{host}{part}(?:/{part})*{end}$"))
            .expect("the pattern is a constant, and tested")
    });
    let name = text(value)?;
    if name.len() <= 255 && IMAGE.is_match(&name) {
        return Ok(name);
    }
    Err(mismatch("the name of an image such as \"python:3.12-slim\"", value))
}

/// Reads what runs beside the tests: a table of names and images. A name is a host name, as the tests see it.
pub(super) fn services(value: &Value<'_>) -> Read<BTreeMap<String, String>> {
    let expected = "a table of names and images, such as { db = \"postgres:16\" }";
    let table = value.get_ref().as_table().ok_or_else(|| mismatch(expected, value))?;
    if table.len() > SERVICES_MAX {
        return Err(mismatch(&format!("at most {SERVICES_MAX} services"), value));
    }
    let services = table.iter().map(|(name, value)| match is_service(name.get_ref()) {
        true => Ok((name.get_ref().clone().into_owned(), image(value)?)),
        false => {
            let message =
                format!("{:?} can't be the name of a service: expected {SERVICE_RULE}", name.get_ref());
            Err(Problem::at(name.span(), message))
        }
    });
    services.collect()
}

/// Reads the name of a Debian package, by Debian's own rule.
pub(super) fn package(value: &Value<'_>) -> Read<String> {
    let name = text(value)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    let is_name = (2..=100).contains(&name.len()) && name.bytes().all(plain);
    if is_name && name.as_bytes()[0].is_ascii_alphanumeric() {
        return Ok(name);
    }
    Err(mismatch("the name of a Debian package such as \"libpq-dev\"", value))
}

/// Reads a path inside the source.
pub(super) fn source_path(value: &Value<'_>) -> Read<String> {
    let path = text(value)?;
    let inside = !path.starts_with('/') && path.split('/').all(|part| !part.is_empty() && part != "..");
    let plain = !path.chars().any(|char| char.is_control() || char == '\\');
    if inside && plain { Ok(path) } else { Err(mismatch("a path below the app's root, without '..'", value)) }
}

/// Reads a path and query of a URL.
pub(super) fn url_path(value: &Value<'_>) -> Read<String> {
    let path = text(value)?;
    let plain = !path.chars().any(|char| char.is_control() || char.is_whitespace() || char == '#');
    if path.starts_with('/') && plain {
        return Ok(path);
    }
    Err(mismatch("a path such as \"/healthz\", beginning with '/', without spaces", value))
}

/// Reads the part of a host's paths that is the app's.
pub(super) fn path_prefix(value: &Value<'_>) -> Read<String> {
    let prefix = text(value)?;
    let trimmed = prefix.trim_end_matches('/');
    if crate::proxy::prefix_is_plain(trimmed).is_ok() {
        return Ok(trimmed.to_owned());
    }
    let problem = mismatch("a path prefix such as \"/shop\"", value);
    Err(problem
        .help("names of letters, digits, '-', '_', '.' and '~', a '/' before each; leave it out for \"/\""))
}

pub(super) fn host_name(value: &Value<'_>) -> Read<String> {
    let host = text(value)?.to_ascii_lowercase();
    let plain = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if host.len() <= 253 && host.split('.').all(plain) {
        return Ok(host);
    }
    Err(mismatch("a host name such as \"shop.example.com\"", value).help("without scheme, port and path"))
}

/// Reads a branch, by the rules of git. A pattern would match nothing, so it is not taken for a name.
pub(super) fn branch(value: &Value<'_>) -> Read<String> {
    let name = text(value)?;
    let odd = |char: char| char.is_control() || char.is_whitespace() || "~^:?*[\\".contains(char);
    let is_name = !name.chars().any(odd) && !name.contains("..") && !name.ends_with(['/', '.']);
    if is_name && !name.starts_with("refs/") && !name.starts_with(['/', '-']) {
        return Ok(name);
    }
    Err(mismatch(
        "the whole name of a branch such as \"main\", without \"refs/heads/\"; patterns are not known",
        value,
    ))
}

/// Reads where a notice goes: `email:author`, `slack:SECRET`.
pub(super) fn channel(value: &Value<'_>) -> Read<String> {
    let text = value.get_ref().as_str().unwrap_or_default();
    match Channel::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(wrong) => Err(Problem::at(value.span(), wrong.to_string()).help(wrong.help()).hidden()),
    }
}

/// Reads `"Name"`, `"Name: value"`, a list of those, or a table of names and values.
pub(super) fn headers(value: &Value<'_>) -> Read<BTreeMap<String, String>> {
    match value.get_ref() {
        DeValue::String(_) => header_line(value).map(|header| [header].into()),
        DeValue::Array(lines) => lines.iter().map(header_line).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| {
                let found = value.get_ref().as_str().ok_or_else(|| mismatch("a text in quotes", value))?;
                Ok((header_name(name.get_ref(), name.span())?, found.to_owned()))
            })
            .collect(),
        _ => Err(mismatch("a header such as \"Content-Type: text/html\"", value)),
    }
}

fn header_line(value: &Value<'_>) -> Read<(String, String)> {
    let line = text(value)?;
    let (name, content) = line.split_once(':').unwrap_or((&line, ""));
    Ok((header_name(name.trim(), value.span())?, content.trim().to_owned()))
}

fn header_name(name: &str, at: std::ops::Range<usize>) -> Read<String> {
    reqwest::header::HeaderName::from_bytes(name.as_bytes())
        .map(|_| name.to_owned())
        .map_err(|_| Problem::at(at, format!("expected the name of a header, found {name:?}")))
}

/// Returns a TOML value as JSON.
pub(super) fn json(value: &Value<'_>) -> Read<serde_json::Value> {
    use serde_json::Value as Json;
    match value.get_ref() {
        DeValue::String(text) => Ok(Json::from(text.as_ref())),
        DeValue::Boolean(value) => Ok(Json::from(*value)),
        DeValue::Datetime(value) => Ok(Json::from(value.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Json::from)
            .map_err(|_| mismatch("a number of at most 64 bits", value)),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Json::Number)
            .ok_or_else(|| mismatch("a number that JSON has", value)),
        DeValue::Array(items) => items.iter().map(json).collect::<Read<Vec<_>>>().map(Json::Array),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| Ok((name.get_ref().clone().into_owned(), json(value)?)))
            .collect::<Read<serde_json::Map<_, _>>>()
            .map(Json::Object),
    }
}
