//! What the client receives: the container's body, which counts until its last byte, or a line of the proxy's own.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::backend::Ticket;

/// Why a response ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenOff {
    #[error("the app broke off its answer")]
    App(#[from] hyper::Error),
    #[error("the drain of the former release took too long")]
    Cut,
}

/// The body of a response.
#[derive(Debug)]
pub(super) enum ReplyBody {
    Own(Full<Bytes>),
    App(Streamed),
}

/// A container's body with its place in the count.
#[derive(Debug)]
pub(super) struct Streamed {
    body: Incoming,
    ticket: Ticket,
    /// Made when the container first keeps us waiting; most bodies are there at once.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl ReplyBody {
    pub(super) fn empty() -> Self {
        Self::Own(Full::default())
    }

    pub(super) fn streamed(body: Incoming, ticket: Ticket) -> Self {
        Self::App(Streamed { body, ticket, cut: None })
    }
}

/// Returns an answer of the proxy itself. `text` goes to strangers: no address, no name, no cause.
pub(super) fn own_answer(status: StatusCode, text: &'static str) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Own(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Streamed {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let token = self.ticket.cut();
        let cut = self.cut.get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        cut.as_mut().poll(cx)
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.ticket.cut().is_cancelled() {
            return Poll::Ready(Some(Err(BrokenOff::Cut)));
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| Ok(frame?))),
            Poll::Pending => self.poll_cut(cx).map(|()| Some(Err(BrokenOff::Cut))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::App(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::App(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::App(body) => body.size_hint(),
        }
    }
}
