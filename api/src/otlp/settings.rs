//! Where traces go: the variables that OpenTelemetry gave names to.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// A collector beside us takes a trace in milliseconds; OpenTelemetry's own default.
const TIMEOUT: Duration = Duration::from_secs(10);

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const TIMEOUT_MS: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A variable holds something else. **Mend it.** Its value is not shown: it may hold a key.
    #[error("${variable} can't be used: expected {expected}")]
    Unusable {
        /// Which.
        variable: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// The machine's certificates could not be read. **Install `ca-certificates`.**
    #[error("no client could be made for the collector of traces")]
    Http(#[source] reqwest::Error),
}

/// Where traces go.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) endpoint: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    /// What is said of whoever sends them.
    pub(super) resource: Vec<(String, String)>,
}

impl Settings {
    /// Reads them. None: nobody wants traces.
    ///
    /// # Errors
    ///
    /// [`OtlpError::Unusable`] names the variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, OtlpError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let is_off = |name, off: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case(off));
        if is_off("OTEL_SDK_DISABLED", "true") || is_off("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let Some(endpoint) = endpoint(&variable)? else { return Ok(None) };
        if let Some(protocol) = variable(PROTOCOL).filter(|protocol| protocol != "http/json") {
            tracing::warn!(
                protocol,
                "traces are sent as http/json, which every collector of OTLP/HTTP takes"
            );
        }
        let headers = variable(TRACES_HEADERS).map(|text| (TRACES_HEADERS, text));
        let headers = headers.or_else(|| variable(HEADERS).map(|text| (HEADERS, text)));
        let headers = headers.map(|(name, text)| self::headers(name, &text)).transpose()?;
        let timeout_ms = variable(TIMEOUT_MS).map(|text| text.trim().parse());
        let wrong = |_| OtlpError::Unusable { variable: TIMEOUT_MS, expected: "a number of milliseconds" };
        let timeout = timeout_ms.transpose().map_err(wrong)?.map_or(TIMEOUT, Duration::from_millis);
        let resource = resource(&variable)?;
        Ok(Some(Self { endpoint, headers: headers.unwrap_or_default(), timeout, resource }))
    }

    /// Returns the endpoint as it may stand in a log.
    pub(super) fn shown(&self) -> String {
        let origin = self.endpoint.origin().ascii_serialization();
        format!("{origin}{}", self.endpoint.path())
    }
}

fn endpoint(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<Url>, OtlpError> {
    let (name, text) = match (variable(TRACES_ENDPOINT), variable(ENDPOINT)) {
        (Some(whole), _) => (TRACES_ENDPOINT, whole.trim().to_owned()),
        (None, Some(base)) => (ENDPOINT, format!("{}/v1/traces", base.trim().trim_end_matches('/'))),
        (None, None) => return Ok(None),
    };
    let expected = "the address of a collector, such as http://127.0.0.1:4318";
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.map(Some).ok_or(OtlpError::Unusable { variable: name, expected })
}

fn headers(variable: &'static str, text: &str) -> Result<HeaderMap, OtlpError> {
    let wrong = || OtlpError::Unusable { variable, expected: "name=value, with commas between" };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text).ok_or_else(wrong)? {
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn resource(variable: &impl Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, OtlpError> {
    let wrong = || OtlpError::Unusable { variable: RESOURCE, expected: "name=value, with commas between" };
    let given =
        variable(RESOURCE).map(|text| pairs(&text).ok_or_else(wrong)).transpose()?.unwrap_or_default();
    let named = variable(SERVICE).unwrap_or_else(|| "landfall".into());
    let mut resource = vec![("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let is_named = variable(SERVICE).is_none() && given.iter().any(|(name, _)| name == "service.name");
    if !is_named {
        resource.push(("service.name".into(), named));
    }
    let more = given.into_iter().filter(|(name, _)| is_named || name != "service.name");
    resource.extend(more);
    Ok(resource)
}

/// Reads `a=b,c=d`, whose values may be escaped as in a URL.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let pair = |item: &str| {
        let (name, value) = item.split_once('=')?;
        Some((unescaped(name.trim())?, unescaped(value.trim())?))
    };
    items.map(pair).collect()
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, after.get(..2)) {
            (b'%', Some(digits)) => {
                let digits = std::str::from_utf8(digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &after[2..];
            }
            (b'%', None) => return None,
            _ => bytes.push(first),
        }
    }
    String::from_utf8(bytes).ok()
}
