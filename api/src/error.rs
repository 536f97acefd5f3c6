//! What the outside is told when something can't be done. The only place that knows HTTP statuses.
//!
//! Two texts: one for the client, in a problem document (RFC 9457), and one for the log, with the causes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_engine::EngineError;
use landfall_engine::core::command::Rejected;
use landfall_engine::limits::Busy;
use landfall_engine::ports::{AppendError, BoxError, ReadError};
use landfall_stages::secrets::{Unfit, VaultError};
use serde::{Deserialize, Serialize};

/// How long a client should wait before it asks again, in seconds: a restart takes about as long.
const RETRY_AFTER_SECONDS: &str = "5";

/// How long a client should wait for a run to end, in seconds: about as long as one takes.
const RETRY_BUSY_SECONDS: &str = "30";

/// Why a request was not answered as asked. A variant per reaction of the client.
#[derive(Debug)]
pub enum ApiError {
    /// The request is wrong. **Mend it.**
    BadRequest(String),
    /// No token, or not the right one. **Send it.**
    Unauthorized,
    /// A delivery that its app's secret did not sign. **Set the secret at the forge.** Says nothing of the app.
    Unsigned,
    /// What is asked for makes sense, and not yet. **Do what is missing.**
    Unprocessable(String),
    /// The token is right, and does not open this. **Ask with another, or somebody who has one.**
    Forbidden(String),
    /// Too many wrong tokens came from there. **Wait.**
    Limited {
        /// How long, in seconds.
        seconds: u64,
    },
    /// There is nothing of that name.
    NotFound(String),
    /// It was there, and was given up on purpose.
    Gone(String),
    /// The rules say no. **Read why.**
    Refused(String),
    /// The path is there, and does not know this method.
    NoSuchMethod(String),
    /// The client saw something that is not so any more. **Look again, then decide.**
    Moved(String),
    /// The request is well formed and can't be meant: an idempotency key that stands for another request.
    Contradicted(String),
    /// The body is longer than anything that is asked for here.
    TooLarge(String),
    /// The body is not said to be JSON.
    NotJson(String),
    /// The body did not arrive in time. **Send it again.**
    Slow(String),
    /// A history can't be read. **Page a person**; other runs are fine.
    Broken(String),
    /// Not now. **Ask again.**
    Unavailable(String),
    /// One app asks for too much. **Ask again later**; other apps are served.
    Busy(String),
    /// The disk is low. **Make room**; asking again does not help before.
    NoRoom(String),
    /// Our fault: the client is told little, the log everything.
    Internal {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        source: BoxError,
    },
}

/// Returns what a status means that refuses a request; None for one that is never given.
pub(crate) const fn meaning(status: u16) -> Option<&'static str> {
    Some(match status {
        400 => "The request is wrong: mend what `detail` says",
        401 => "The token is missing or wrong",
        403 => "The token does not allow this, or the delivery is not signed",
        404 => "There is nothing of that name",
        408 => "The body did not arrive in time: send it again",
        409 => "The rules say no: `detail` says why",
        410 => "It was there, and was given up on purpose",
        412 => "It moved on since the client looked: look again, then decide",
        413 => "The body is too long",
        415 => "The body is not said to be `application/json`",
        422 => "The idempotency key stands for another request, or what this needs is not there yet",
        429 => "Too much is asked for at once: ask again later",
        500 => "Something went wrong here: the server's log says what",
        503 => "Not now: ask again",
        507 => "The disk is low, so nothing new is begun: make room",
        _ => return None,
    })
}

/// The body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:landfall:refused`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what to do.
    pub detail: String,
}

impl ApiError {
    /// Returns an error of ours: `doing` goes to the client, `source` to the log.
    pub fn internal(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Internal { doing, source: source.into() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unsigned => StatusCode::FORBIDDEN,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Gone(_) => StatusCode::GONE,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Moved(_) => StatusCode::PRECONDITION_FAILED,
            Self::Contradicted(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Broken(_) | Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns what the client is told.
    pub fn problem(&self) -> Problem {
        let (name, title) = match self {
            Self::BadRequest(_) => ("bad-request", "The request is wrong"),
            Self::Unauthorized => ("unauthorized", "The token is missing or wrong"),
            Self::Unsigned => ("unsigned", "The signature is missing or wrong"),
            Self::Unprocessable(_) => ("unprocessable", "Something is missing"),
            Self::Forbidden(_) => ("forbidden", "The token does not open this"),
            Self::Limited { .. } => ("limited", "Too many wrong tokens or signatures"),
            Self::NotFound(_) => ("not-found", "There is nothing of that name"),
            Self::Gone(_) => ("gone", "It is not kept any more"),
            Self::Refused(_) => ("refused", "The rules say no"),
            Self::NoSuchMethod(_) => ("no-such-method", "The path does not know this method"),
            Self::Moved(_) => ("moved", "It is not what it was"),
            Self::Contradicted(_) => ("contradicted", "The request contradicts an earlier one"),
            Self::TooLarge(_) => ("too-large", "The request is too large"),
            Self::NotJson(_) => ("not-json", "The body is not said to be JSON"),
            Self::Slow(_) => ("slow", "The body did not arrive in time"),
            Self::Broken(_) => ("broken", "A history can't be read"),
            Self::Unavailable(_) => ("unavailable", "Not now"),
            Self::Busy(_) => ("busy", "Too many runs are open"),
            Self::NoRoom(_) => ("no-room", "The disk is low"),
            Self::Internal { .. } => ("internal", "Something went wrong here"),
        };
        let detail = match self {
            Self::BadRequest(detail)
            | Self::Unprocessable(detail)
            | Self::Forbidden(detail)
            | Self::NotFound(detail)
            | Self::Gone(detail)
            | Self::Refused(detail)
            | Self::NoSuchMethod(detail)
            | Self::Moved(detail)
            | Self::Contradicted(detail)
            | Self::TooLarge(detail)
            | Self::NotJson(detail)
            | Self::Slow(detail)
            | Self::Broken(detail)
            | Self::Unavailable(detail)
            | Self::Busy(detail)
            | Self::NoRoom(detail) => detail.clone(),
            Self::Unauthorized => {
                "send the server's token as `Authorization: Bearer TOKEN`; `landfall serve` says where it is"
                    .into()
            }
            Self::Unsigned => {
                "there is no app of this name that takes deliveries with this signature: compare the address and the \
                 secret with those that the app is registered with"
                    .into()
            }
            Self::Limited { seconds } => format!(
                "too many wrong tokens or signatures came from your address, so none is looked at for the next {seconds} s"
            ),
            Self::Internal { doing, .. } => format!("{doing} failed; the server's log says why"),
        };
        Problem {
            kind: format!("urn:landfall:{name}"),
            title: title.into(),
            status: self.status().as_u16(),
            detail,
        }
    }

    /// Returns the answer as plain text, which git shows to whoever pushes.
    pub fn into_text_response(self) -> Response {
        self.log();
        let detail = match &self {
            Self::Unauthorized => {
                "the password must be the server's token, with any user name; `landfall serve` says \
                                   where the token is"
                    .into()
            }
            _ => self.problem().detail,
        };
        let text = format!("landfall: {detail}\n");
        let mut response = (self.status(), text).into_response();
        if matches!(self, Self::Unauthorized) {
            let realm = "Basic realm=\"Landfall (any user name, the token as password)\", charset=\"UTF-8\"";
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(realm));
        }
        self.say_when(&mut response);
        response
    }

    /// Says when asking again may help, where time alone helps.
    fn say_when(&self, response: &mut Response) {
        let seconds = match self {
            Self::Unavailable(_) => HeaderValue::from_static(RETRY_AFTER_SECONDS),
            Self::Busy(_) => HeaderValue::from_static(RETRY_BUSY_SECONDS),
            Self::Limited { seconds } => HeaderValue::from(*seconds),
            _ => return,
        };
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }

    fn log(&self) {
        if let Self::Internal { doing, source } = self {
            let source: &dyn std::error::Error = source.as_ref();
            tracing::error!(error = source, "{doing} failed");
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let mut response = (self.status(), axum::Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(self, Self::Unauthorized) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"Landfall\""));
        }
        self.say_when(&mut response);
        response
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(Rejected::NoSuchRun)
            | EngineError::NoSuchRun(_)
            | EngineError::NoSuchApp(_)
            | EngineError::NoSuchCommit { .. } => Self::NotFound(error.to_string()),
            EngineError::Rejected(Rejected::MovedOn { .. }) => {
                Self::Moved(format!("{error}; look again, then decide"))
            }
            EngineError::Rejected(Rejected::OtherRequest { .. }) => Self::Contradicted(error.to_string()),
            EngineError::Rejected(_) | EngineError::NoSuchRelease { .. } => Self::Refused(error.to_string()),
            EngineError::Append(AppendError::Refused { reason }) => {
                Self::BadRequest(format!("this can't be recorded: {reason}"))
            }
            EngineError::Busy(busy @ Busy::Lane { .. }) => Self::Busy(busy.to_string()),
            EngineError::Busy(busy @ Busy::Engine { .. }) => Self::Unavailable(busy.to_string()),
            EngineError::Low(low) => Self::NoRoom(low.to_string()),
            EngineError::Append(AppendError::Full) => Self::NoRoom(
                "the disk of the event log is full, so nothing new is begun; free some space and ask again"
                    .into(),
            ),
            EngineError::Append(error) => Self::Unavailable(format!("nothing was begun: {error}")),
            EngineError::Stopping => {
                Self::Unavailable("the server is stopping; ask again once it is back".into())
            }
            EngineError::Read(error) => error.into(),
            EngineError::Illegal(illegal) => Self::Broken(illegal.to_string()),
            EngineError::NotDriven(_) => Self::Broken(error.to_string()),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unreadable { .. } => Self::Broken(error.to_string()),
            ReadError::Backend { .. } => Self::internal("reading the event log", error),
        }
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Unfit(unfit @ Unfit::TooLong) => Self::TooLarge(unfit.to_string()),
            VaultError::Unfit(unfit) => Self::BadRequest(unfit.to_string()),
            VaultError::Disk { .. } => Self::internal("keeping a secret", error),
            // Whoever may ask for this may as well be told where the key should be.
            VaultError::Key(_)
            | VaultError::WrongKey { .. }
            | VaultError::Damaged { .. }
            | VaultError::Full { .. }
            | VaultError::Unopened { .. } => Self::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_tells_the_client_nothing_of_the_machine() {
        let error = ApiError::internal("reading the event log", "/secret/path: permission denied");
        let told = serde_json::to_string(&error.problem()).unwrap();
        assert!(!told.contains("/secret"), "{told}");
        assert!(told.contains("reading the event log failed"), "{told}");
    }

    #[test]
    fn a_problem_document_says_kind_status_and_what_to_do() {
        let error = ApiError::from(EngineError::Stopping);
        assert_eq!(
            serde_json::to_value(error.problem()).unwrap(),
            serde_json::json!({
                "type": "urn:landfall:unavailable",
                "title": "Not now",
                "status": 503,
                "detail": "the server is stopping; ask again once it is back"
            })
        );
    }
}
