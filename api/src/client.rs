//! A client of the HTTP API, for commands that speak with a running server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::RunQuery;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::data_dir::{ServerNote, Token};
use crate::error::Problem;
use crate::retention::{PruneReport, PruneRequest};
use crate::server::{
    ACTOR_HEADER, AppDetail, AppLine, AppList, AppRequest, Because, LedgerPage, OutputList, OutputText,
    RollbackRequest, RunEvents, RunLink, RunPage, SecretList, ServerInfo, TokenList, TokenMade, TokenRequest,
    TriggerRequest,
};
use crate::usual::Usual;

mod control;
mod sse;

/// The longest page that a server gives.
const LIMIT_MAX: usize = 1_000;

/// A server on this machine answers at once, one elsewhere in a second; more is no answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A change waits for git and a sync of the log; the server itself gives up after a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);
/// A stream has a comment every 15 s; four missing ones are a connection that is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a server did not do what was asked. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{url:?} is not the address of a server: expected http://HOST:PORT")]
    Address {
        /// What was given.
        url: String,
    },
    /// The authority that is to be trusted is none. **Name its certificate.**
    #[error("{} can't be trusted as an authority: {reason}; expected its certificate in PEM", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not answer. **Start it, or mend the address.**
    #[error("the server {url} does not answer; is `landfall serve` running there?")]
    Unreachable {
        /// Its address.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// It answers, and says no. **Show it.**
    #[error("{}", problem.detail)]
    Problem {
        /// What it says.
        problem: Problem,
    },
    /// What answers is no landfall server, or one of another version.
    #[error(
        "{url} answered with something unexpected while {doing}; is it a landfall server of this version?"
    )]
    Unexpected {
        /// Its address.
        url: String,
        /// What was being done.
        doing: &'static str,
    },
    /// The connection broke in the middle of a stream. **Take it up again.**
    #[error("the connection to {url} broke")]
    Broken {
        /// Its address.
        url: String,
    },
}

impl ClientError {
    /// Returns the HTTP status that the server answered with, if it did.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { problem } => Some(problem.status),
            _ => None,
        }
    }
}

/// A run as the server tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct RunAnswer {
    /// In a line.
    pub summary: Option<RunSummary>,
    /// Folded; None when its history does not verify.
    pub run: Option<Run>,
    /// What does not verify.
    pub problems: Vec<String>,
}

/// What a server's `/readyz` tells.
#[derive(Clone, Debug, Deserialize)]
pub struct Readiness {
    /// Each check, by its name.
    pub checks: BTreeMap<String, Readied>,
}

/// How one check of a server stands.
#[derive(Clone, Debug, Deserialize)]
pub struct Readied {
    /// Whether the server is not ready for it.
    #[serde(default)]
    pub decides: bool,
    /// Why it is not well, if so.
    pub reason: Option<String>,
}

/// A connection to a server.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Token,
    actor: String,
}

impl Client {
    /// Returns a client of the server at `url`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`].
    pub fn new(url: &str, token: Token) -> Result<Self, ClientError> {
        Self::trusting(url, token, None)
    }

    /// Returns a client that trusts one more authority than the system does: that of the PEM file.
    ///
    /// # Errors
    ///
    /// [`ClientError::Authority`] when the file can't be used, and [`ClientError::Address`].
    pub fn trusting(url: &str, token: Token, authority: Option<&Path>) -> Result<Self, ClientError> {
        // Without a provider reqwest can't be built; a second install is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = url.trim_end_matches('/').to_owned();
        let is_http = reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = authority {
            builder = builder.tls_certs_merge(certificates(path)?);
        }
        match builder.build() {
            Ok(http) if is_http => {
                let actor = std::env::var("USER").ok().filter(|user| user.is_ascii() && !user.is_empty());
                Ok(Self { http, url, token, actor: actor.unwrap_or_else(|| "cli".into()) })
            }
            _ => Err(ClientError::Address { url }),
        }
    }

    /// Returns a client of the server that has this data folder. None: there is none that answers.
    pub async fn of_data_dir(data: &Path) -> Option<Self> {
        let note = ServerNote::find(data)?;
        let token = Token::parse(&note.token, "server.json").ok()?;
        let client = Self::new(&note.url, token).ok()?;
        // Its own token tells it from whatever has the port now.
        client.server().await.ok().map(|_| client)
    }

    /// Returns where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns who answers, and for which log.
    ///
    /// # Errors
    ///
    /// As for all methods: [`ClientError`].
    pub async fn server(&self) -> Result<ServerInfo, ClientError> {
        self.get("/v1/server", "asking who it is").await
    }

    /// Returns how its checks stand. That it is not ready is an answer.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn readiness(&self) -> Result<Readiness, ClientError> {
        let doing = "asking whether it is ready";
        let request = self.request(Method::GET, "/readyz").timeout(ANSWER_TIMEOUT);
        let unreachable = |source| ClientError::Unreachable { url: self.url.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        response.json().await.map_err(|_| ClientError::Unexpected { url: self.url.clone(), doing })
    }

    /// Returns a page of runs, newest first.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn runs(&self, query: &RunQuery) -> Result<RunPage, ClientError> {
        let RunQuery { app, state, open, before, limit } = query;
        let state = state.map(|state| serde_json::to_value(state).unwrap_or_default());
        let pairs = [
            ("app", app.clone()),
            ("state", state.and_then(|state| state.as_str().map(str::to_owned))),
            ("open", open.then(|| "true".to_owned())),
            ("before", before.map(|before| before.to_string())),
            ("limit", (*limit > 0).then(|| (*limit).min(LIMIT_MAX).to_string())),
        ];
        let given: Vec<_> = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let request = self.request(Method::GET, &with_query("/v1/runs", &given)).timeout(ANSWER_TIMEOUT);
        self.json(request, "listing runs").await
    }

    /// Returns one run.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn run(&self, run_id: RunId) -> Result<RunAnswer, ClientError> {
        self.get(&format!("/v1/runs/{run_id}"), "asking for a run").await
    }

    /// Returns how long the steps of a lane take as a rule.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; of status 404 when the server is of a version that does not tell.
    pub async fn usual(&self, lane: &LaneId) -> Result<Usual, ClientError> {
        let path = with_query(&format!("/v1/apps/{}/usual", lane.app), &[("env", lane.env.clone())]);
        self.get(&path, "asking what is usual").await
    }

    /// Returns the history of a run so far.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ClientError> {
        let mut history = Vec::new();
        let mut next = Some(0);
        while let Some(after) = next {
            let path = format!("/v1/runs/{run_id}/events?after={after}");
            let page: RunEvents = self.get(&path, "reading a history").await?;
            history.extend(page.events);
            next = page.next;
        }
        Ok(history)
    }

    /// Follows a run from the event after `seen` on, to its end. Connections that break are taken up again by
    /// whoever asked: what was seen last is known to them.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the stream does not begin; in it, when it breaks.
    pub async fn watch(
        &self,
        run_id: RunId,
        seen: u64,
    ) -> Result<BoxStream<'static, Result<Envelope, ClientError>>, ClientError> {
        let path = format!("/v1/runs/{run_id}/events");
        self.stream(&path, &[], Some(seen.to_string()), "following a run").await
    }

    /// Returns what a run's stages have printed so far, without the text.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn outputs(&self, run_id: RunId) -> Result<OutputList, ClientError> {
        self.get(&format!("/v1/runs/{run_id}/output"), "listing outputs").await
    }

    /// Gives up what is old.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn prune(&self, request: &PruneRequest) -> Result<PruneReport, ClientError> {
        let post = self.request(Method::POST, "/v1/prune");
        self.json(post.json(request).timeout(ANSWER_TIMEOUT), "pruning").await
    }

    /// Returns the names of an app's secrets.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn secrets(&self, app: &str) -> Result<SecretList, ClientError> {
        self.get(&format!("/v1/apps/{app}/secrets"), "listing secrets").await
    }

    /// Keeps a secret of an app. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn set_secret(
        &self,
        app: &str,
        env: Option<&str>,
        name: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let put = self.request(Method::PUT, &path_of_secret(app, env, name));
        let put = put.json(&serde_json::json!({ "value": value })).timeout(ANSWER_TIMEOUT);
        self.answer(put, "setting a secret").await.map(drop)
    }

    /// Takes a secret away from an app.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn remove_secret(&self, app: &str, env: Option<&str>, name: &str) -> Result<(), ClientError> {
        let delete = self.request(Method::DELETE, &path_of_secret(app, env, name));
        self.answer(delete.timeout(ANSWER_TIMEOUT), "removing a secret").await.map(drop)
    }

    /// Follows what an attempt at a stage prints, from its beginning to its end.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the stream does not begin; in it, when it breaks.
    pub async fn output(
        &self,
        run_id: RunId,
        stage: &str,
        attempt: u32,
    ) -> Result<BoxStream<'static, Result<String, ClientError>>, ClientError> {
        let path = format!("/v1/runs/{run_id}/output");
        let query = [("stage", stage.to_owned()), ("attempt", attempt.to_string())];
        let pieces = self.stream::<OutputText>(&path, &query, None, "following an output").await?;
        Ok(pieces.map(|piece| piece.map(|piece| piece.text)).boxed())
    }

    /// Returns what each app serves.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn apps(&self) -> Result<Vec<AppLine>, ClientError> {
        let answer: AppList = self.get("/v1/apps", "listing apps").await?;
        Ok(answer.apps)
    }

    /// Returns what is known of an app, and what it serves.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn app(&self, app: &str) -> Result<AppDetail, ClientError> {
        self.get(&format!("/v1/apps/{app}"), "asking for an app").await
    }

    /// Returns every app that was made known.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn registered(&self) -> Result<Vec<(String, AppRequest)>, ClientError> {
        let answer: AppList = self.get("/v1/apps", "listing apps").await?;
        Ok(answer.registered.into_iter().collect())
    }

    /// Makes an app known, or changes what is known of it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn register(&self, app: &str, request: &AppRequest) -> Result<(), ClientError> {
        let put = self.request(Method::PUT, &format!("/v1/apps/{app}")).json(request);
        self.answer(put.timeout(ANSWER_TIMEOUT), "registering an app").await.map(drop)
    }

    /// Forgets what an app was made known with.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn remove_app(&self, app: &str) -> Result<(), ClientError> {
        let delete = self.request(Method::DELETE, &format!("/v1/apps/{app}"));
        self.answer(delete.timeout(ANSWER_TIMEOUT), "removing an app").await.map(drop)
    }

    /// Returns every decision about the installation.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn ledger(&self) -> Result<LedgerPage, ClientError> {
        self.get("/v1/ledger", "reading the ledger").await
    }

    /// Returns the tokens that were handed out.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn tokens(&self) -> Result<TokenList, ClientError> {
        self.get("/v1/tokens", "listing tokens").await
    }

    /// Hands a token out.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn create_token(&self, request: &TokenRequest) -> Result<TokenMade, ClientError> {
        let post = self.request(Method::POST, "/v1/tokens").json(request);
        self.json(post.timeout(ANSWER_TIMEOUT), "creating a token").await
    }

    /// Takes a token back.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn revoke_token(&self, id: Uuid) -> Result<(), ClientError> {
        let delete = self.request(Method::DELETE, &format!("/v1/tokens/{id}"));
        self.answer(delete.timeout(ANSWER_TIMEOUT), "revoking a token").await.map(drop)
    }

    /// Starts a run, once for each `key`. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn trigger(
        &self,
        app: &str,
        request: &TriggerRequest,
        key: Option<&str>,
    ) -> Result<RunLink, ClientError> {
        let mut post = self.request(Method::POST, &format!("/v1/apps/{app}/runs"));
        if let Some(key) = key {
            post = post.header("idempotency-key", key);
        }
        self.json(post.json(request).timeout(ANSWER_TIMEOUT), "starting a run").await
    }

    /// Starts a run that makes a former release live.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn rollback(&self, app: &str, request: &RollbackRequest) -> Result<RunLink, ClientError> {
        let post = self.request(Method::POST, &format!("/v1/apps/{app}/rollback"));
        self.json(post.json(request).timeout(ANSWER_TIMEOUT), "rolling back").await
    }

    /// Ends a run, or rolls back what it deployed.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn cancel(&self, run_id: RunId, reason: &str) -> Result<RunLink, ClientError> {
        self.change(run_id, "cancel", Some(reason)).await
    }

    /// Decides about a parked run.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resolve(
        &self,
        run_id: RunId,
        decision: landfall_engine::core::event::Decision,
    ) -> Result<RunLink, ClientError> {
        use landfall_engine::core::event::Decision;
        match decision {
            Decision::Retry => self.change(run_id, "retry", None).await,
            Decision::Skip { reason } => self.change(run_id, "skip", Some(&reason)).await,
            Decision::Abort { reason } => self.change(run_id, "abort", Some(&reason)).await,
        }
    }

    async fn change(
        &self,
        run_id: RunId,
        what: &'static str,
        reason: Option<&str>,
    ) -> Result<RunLink, ClientError> {
        let because = Because { reason: reason.map(str::to_owned) };
        let post = self.request(Method::POST, &format!("/v1/runs/{run_id}/{what}"));
        self.json(post.json(&because).timeout(ANSWER_TIMEOUT), what).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, doing: &'static str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT), doing).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        doing: &'static str,
    ) -> Result<T, ClientError> {
        let body = self.answer(request, doing).await?.bytes().await.map_err(|_| self.broken())?;
        serde_json::from_slice(&body).map_err(|_| self.unexpected(doing))
    }

    async fn stream<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        query: &[(&str, String)],
        seen: Option<String>,
        doing: &'static str,
    ) -> Result<BoxStream<'static, Result<T, ClientError>>, ClientError> {
        let mut request = self.request(Method::GET, &with_query(path, query));
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(seen) = seen.filter(|seen| seen != "0") {
            request = request.header("last-event-id", seen);
        }
        let answer = self.answer(request, doing).await?;
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(stream::empty().boxed());
        }
        let (broken, unexpected) = (self.clone(), self.clone());
        let frames = sse::frames(answer.bytes_stream().map(move |bytes| bytes.map_err(|_| broken.broken())));
        let values = frames.map(move |frame| match frame {
            Ok(frame) if frame.event == "error" => Err(unexpected.broken()),
            Ok(frame) => serde_json::from_str(&frame.data).map_err(|_| unexpected.unexpected(doing)),
            Err(error) => Err(error),
        });
        Ok(values.boxed())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.bearer_auth(self.token.reveal()).header(ACTOR_HEADER, &self.actor)
    }

    async fn answer(&self, request: RequestBuilder, doing: &'static str) -> Result<Response, ClientError> {
        let unreachable = |source| ClientError::Unreachable { url: self.url.clone(), source };
        let answer = request.send().await.map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.map_err(|_| self.broken())?;
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Problem { problem }),
            Err(_) => Err(self.unexpected(doing)),
        }
    }

    fn unexpected(&self, doing: &'static str) -> ClientError {
        ClientError::Unexpected { url: self.url.clone(), doing }
    }

    fn broken(&self) -> ClientError {
        ClientError::Broken { url: self.url.clone() }
    }
}

fn path_of_secret(app: &str, env: Option<&str>, name: &str) -> String {
    let env: Vec<_> = env.map(|env| ("env", env.to_owned())).into_iter().collect();
    with_query(&format!("/v1/apps/{app}/secrets/{}", escaped(name)), &env)
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let wrong = |reason: String| ClientError::Authority { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    match reqwest::Certificate::from_pem_bundle(&text) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong("it holds no certificate".into())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Returns a path with a query behind it. What is passed here is ids, names and numbers; the rest is escaped.
fn with_query(path: &str, pairs: &[(&str, String)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        query.push(if query.is_empty() { '?' } else { '&' });
        query += name;
        query.push('=');
        query += &escaped(value);
    }
    format!("{path}{query}")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}
