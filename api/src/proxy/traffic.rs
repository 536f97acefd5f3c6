//! One request, from the client to the container and back.
//!
//! Bodies stream both ways and are never held. A request is sent a second time in two cases alone:
//! nothing of it was sent, or it is one that may be repeated (RFC 9110, section 9.2.2), has no body, and the
//! container hung up without a byte of an answer.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Version;
use http::header;
use http::request;
use http::uri::PathAndQuery;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::backend::Backend;
use super::backend::Ticket;
use super::front::Sender;
use super::headers;
use super::limits::Limits;
use super::reply::ReplyBody;
use super::reply::own_answer;
use super::switchboard::Nobody;
use super::switchboard::Picked;
use super::switchboard::Switchboard;
use super::switchboard::now_ms;
use super::upstream::Progress;
use super::upstream::Upload;
use super::upstream::hung_up_unanswered;

/// Why a container gave no answer to a request.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("the app did not answer")]
    HungUp(#[source] hyper_util::client::legacy::Error),
    #[error("the app took too long to answer")]
    TooLate,
    #[error("the client stopped in the middle of its request")]
    ClientStalled,
    #[error("the client's request broke off or is malformed")]
    ClientBroken,
    #[error("the drain of the former release took too long")]
    Cut,
}

/// Answers a request: by the app that has its host, else by a line of the proxy's own.
pub(super) async fn answer(
    board: &Arc<Switchboard>,
    sender: Sender,
    mut request: Request<Incoming>,
) -> Response<ReplyBody> {
    if request.method() == Method::CONNECT {
        return own_answer(StatusCode::METHOD_NOT_ALLOWED, "landfall proxy: CONNECT is not offered here\n");
    }
    let client_upgrade = hyper::upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    let host = match headers::host_of(&head) {
        Ok(host) => host,
        Err(_) => return own_answer(StatusCode::BAD_REQUEST, "landfall proxy: one request, one host\n"),
    };
    let name = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = headers::without_port(name);
    if let Some(elsewhere) = board.front.redirect(sender, &head.headers, &name, head.uri.path_and_query()) {
        return elsewhere;
    }
    let Picked { ticket, mount } = match board.pick(&name, head.uri.path()) {
        Ok(picked) => picked,
        Err(nobody) => return nobody_answers(nobody),
    };
    let probe = headers::is_probe(&head.headers, sender);
    let upgrade = headers::upgrade_of(&head.headers).filter(|_| head.version == Version::HTTP_11);
    let prefix = mount.as_ref().filter(|mount| mount.strip).map(|mount| mount.prefix.as_str());
    let path = prefix.and_then(|prefix| below(prefix, head.uri.path_and_query()?));
    head.uri = ticket.backend().upstream.uri(path.as_ref().or(head.uri.path_and_query()));
    drop(name);
    headers::to_upstream(&mut head.headers, sender, host, prefix, upgrade.clone());
    head.version = Version::HTTP_11;

    let traffic = &ticket.backend().traffic;
    traffic.count_request();
    let moment = ticket.backend().history.begin(now_ms());
    let asked = Instant::now();
    let answered = ask(&ticket, &board.limits, head, body).await;
    match &answered {
        Ok(answer) => {
            let took = asked.elapsed();
            traffic.count_time(took);
            moment.answered(answer.status(), took);
        }
        Err(Unanswered::HungUp(_) | Unanswered::TooLate | Unanswered::Cut) => moment.unanswered(),
        Err(Unanswered::ClientStalled | Unanswered::ClientBroken) => {}
    }
    let mut signed = probe.then(http::HeaderMap::new);
    if let Some(signature) = &mut signed {
        headers::sign(signature, ticket.backend());
    }
    let mut response = match answered {
        Ok(answer) => pass_on(board, ticket, answer, upgrade, client_upgrade),
        Err(unanswered) => say_so(ticket.backend(), &unanswered),
    };
    response.headers_mut().extend(signed.unwrap_or_default());
    response
}

/// Returns what is left of a path without the prefix that it begins with.
fn below(prefix: &str, path: &PathAndQuery) -> Option<PathAndQuery> {
    let rest = path.as_str().strip_prefix(prefix)?;
    let slash = if rest.starts_with('/') { "" } else { "/" };
    PathAndQuery::try_from(format!("{slash}{rest}")).ok()
}

async fn ask(
    ticket: &Ticket,
    limits: &Limits,
    head: request::Parts,
    body: Incoming,
) -> Result<Response<Incoming>, Unanswered> {
    if !body.is_end_stream() {
        let progress = Progress::begin();
        let upload = Upload::Streaming { body, progress: progress.clone() };
        return exchange(ticket, limits, Request::from_parts(head, upload), &progress).await;
    }
    let again = may_be_repeated(&head.method).then(|| head.clone());
    let first = exchange(ticket, limits, Request::from_parts(head, Upload::Empty), &Progress::begin()).await;
    match (first, again) {
        (Err(Unanswered::HungUp(error)), Some(head)) if hung_up_unanswered(&error) => {
            exchange(ticket, limits, Request::from_parts(head, Upload::Empty), &Progress::begin()).await
        }
        (first, _) => first,
    }
}

/// The idempotent methods that come without a body.
fn may_be_repeated(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

async fn exchange(
    ticket: &Ticket,
    limits: &Limits,
    request: Request<Upload>,
    progress: &Progress,
) -> Result<Response<Incoming>, Unanswered> {
    let mut answer = std::pin::pin!(ticket.backend().upstream.send(request));
    loop {
        let deadline = progress.last() + limits.response;
        tokio::select! {
            answer = &mut answer => return answer.map_err(|error| match progress.is_broken() {
                true => Unanswered::ClientBroken,
                false => Unanswered::HungUp(error),
            }),
            () = ticket.cut().cancelled() => return Err(Unanswered::Cut),
            () = tokio::time::sleep_until(deadline) => {}
        }
        // A long upload moves the deadline on with each piece.
        if progress.last() + limits.response > deadline {
            continue;
        }
        return Err(if progress.is_starved() { Unanswered::ClientStalled } else { Unanswered::TooLate });
    }
}

fn pass_on(
    board: &Switchboard,
    ticket: Ticket,
    mut answer: Response<Incoming>,
    upgrade: Option<HeaderValue>,
    client: OnUpgrade,
) -> Response<ReplyBody> {
    let status = answer.status();
    ticket.backend().traffic.count_response(status);
    // A container that speaks HTTP/1.0 does not make its clients do so.
    *answer.version_mut() = Version::HTTP_11;
    if status != StatusCode::SWITCHING_PROTOCOLS {
        headers::to_client(answer.headers_mut(), None);
        return answer.map(|body| ReplyBody::streamed(body, ticket));
    }
    if upgrade.is_none() {
        tracing::warn!(target_addr = %ticket.backend().target, "the app switched protocols without being asked");
        return own_answer(StatusCode::BAD_GATEWAY, NO_ANSWER);
    }
    let protocol = answer.headers().get(header::UPGRADE).cloned().or(upgrade);
    let app = hyper::upgrade::on(&mut answer);
    headers::to_client(answer.headers_mut(), protocol);
    board.tasks.spawn(bridge(ticket, client, app, board.stopping.clone()));
    answer.map(|_| ReplyBody::empty())
}

/// Carries bytes both ways until one side ends, the drain is over, or the proxy stops.
async fn bridge(
    ticket: Ticket,
    client: OnUpgrade,
    app: OnUpgrade,
    stopping: tokio_util::sync::CancellationToken,
) {
    let both_ways = async {
        let (client, app) = tokio::try_join!(client, app)?;
        let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
        tokio::io::copy_bidirectional(&mut client, &mut app).await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    tokio::select! {
        ended = both_ways => if let Err(error) = ended {
            tracing::debug!(error, "an upgraded connection broke off");
        },
        () = ticket.cut().cancelled() => {}
        () = stopping.cancelled() => {}
    }
}

const NO_ANSWER: &str = "landfall proxy: the app did not answer\n";

fn nobody_answers(nobody: Nobody) -> Response<ReplyBody> {
    match nobody {
        Nobody::NoSuchApp => own_answer(StatusCode::NOT_FOUND, "landfall proxy: no app has this host\n"),
        Nobody::NothingReleased => {
            own_answer(StatusCode::SERVICE_UNAVAILABLE, "landfall proxy: nothing is released here yet\n")
        }
    }
}

fn say_so(backend: &Backend, unanswered: &Unanswered) -> Response<ReplyBody> {
    backend.traffic.count_unanswered();
    if let Some(unsaid) = backend.complaints.due() {
        let cause = unanswered.source();
        tracing::warn!(
            target_addr = %backend.target,
            release = backend.release,
            run = backend.run,
            unsaid,
            cause,
            "{unanswered}"
        );
    }
    match unanswered {
        Unanswered::HungUp(_) => own_answer(StatusCode::BAD_GATEWAY, NO_ANSWER),
        Unanswered::TooLate => {
            own_answer(StatusCode::GATEWAY_TIMEOUT, "landfall proxy: the app took too long to answer\n")
        }
        Unanswered::ClientStalled => {
            own_answer(StatusCode::REQUEST_TIMEOUT, "landfall proxy: the rest of the request did not come\n")
        }
        Unanswered::ClientBroken => {
            own_answer(StatusCode::BAD_REQUEST, "landfall proxy: the request is malformed\n")
        }
        Unanswered::Cut => own_answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "landfall proxy: this release has been replaced; please try again\n",
        ),
    }
}
