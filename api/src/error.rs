//! What the outside is told when something can't be done. The only place that knows HTTP statuses.
//!
//! Two texts: one for the client, in a problem document (RFC 9457), and one for the log, with the causes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_engine::EngineError;
use landfall_engine::core::command::Rejected;
use landfall_engine::limits::Busy;
use landfall_engine::ports::{AppendError, BoxError, ReadError};
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
    /// There is nothing of that name.
    NotFound(String),
    /// It was there, and was given up on purpose.
    Gone(String),
    /// The rules say no. **Read why.**
    Refused(String),
    /// The body is longer than anything that is asked for here.
    TooLarge(String),
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

/// The body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Gone(_) => StatusCode::GONE,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
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
            Self::NotFound(_) => ("not-found", "There is nothing of that name"),
            Self::Gone(_) => ("gone", "It is not kept any more"),
            Self::Refused(_) => ("refused", "The rules say no"),
            Self::TooLarge(_) => ("too-large", "The request is too large"),
            Self::Broken(_) => ("broken", "A history can't be read"),
            Self::Unavailable(_) => ("unavailable", "Not now"),
            Self::Busy(_) => ("busy", "Too many runs are open"),
            Self::NoRoom(_) => ("no-room", "The disk is low"),
            Self::Internal { .. } => ("internal", "Something went wrong here"),
        };
        let detail = match self {
            Self::BadRequest(detail)
            | Self::NotFound(detail)
            | Self::Gone(detail)
            | Self::Refused(detail)
            | Self::TooLarge(detail)
            | Self::Broken(detail)
            | Self::Unavailable(detail)
            | Self::Busy(detail)
            | Self::NoRoom(detail) => detail.clone(),
            Self::Unauthorized => {
                "send the server's token as `Authorization: Bearer TOKEN`; `landfall serve` says where it is"
                    .into()
            }
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
            Self::Unavailable(_) => RETRY_AFTER_SECONDS,
            Self::Busy(_) => RETRY_BUSY_SECONDS,
            _ => return,
        };
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
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
