//! The engine inside a service of your own, with one of its stages wrapped.
//!
//! A team wants no release that is slow under a little load. Its service deploys the app in the folder that it
//! is given, with Landfall's stages, and one more thing in the smoke stage: fifty requests, of which the
//! slowest must be answered in time. Too slow is red, and red is rolled back like any other smoke test.
//!
//! The stages of a run are fixed. A stage of your own takes the place of one of them, or is wrapped around it,
//! as `StricterStages` wraps the smoke stage here; it can't be added beside them.
//!
//! ```sh
//! cargo build -p landfall && cargo run -p landfall-examples --bin embedded -- path/to/a/flask/app
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use landfall::compose::{ComposeOptions, EdgeWish, Landfall, Options};
use landfall_engine::Limits;
use landfall_engine::core::command::{NotSent, Outcome, Push, RollbackOutcome};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::core::stage::Stage;
use landfall_engine::engine::Engine;
use landfall_engine::ports::{Keep, NoticeOrder, Order, Output, Probe, RollbackOrder, StageExecutor};
use landfall_stages::executor::FlaskStages;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many requests the candidate is asked.
const REQUESTS: u32 = 50;

/// How long the slowest answer may take.
const SLOWEST: Duration = Duration::from_millis(500);

/// Landfall's stages, with a smoke stage that is stricter.
#[derive(Debug)]
struct StricterStages {
    flask: FlaskStages,
}

#[async_trait]
impl StageExecutor for StricterStages {
    async fn execute(&self, order: &Order, output: &Output) -> Outcome {
        if order.stage == Stage::Smoke
            && let Err(reason) = is_quick(order, output).await
        {
            return Outcome::failed(reason);
        }
        self.flask.execute(order, output).await
    }

    async fn probe(&self, order: &Order) -> Result<Probe, String> {
        self.flask.probe(order).await
    }

    async fn attach(&self, order: &Order, output: &Output) -> Outcome {
        self.flask.attach(order, output).await
    }

    async fn undo(&self, order: &Order) -> Result<(), String> {
        self.flask.undo(order).await
    }

    async fn rollback(&self, order: &RollbackOrder, output: &Output) -> RollbackOutcome {
        self.flask.rollback(order, output).await
    }

    async fn notify(&self, order: &NoticeOrder) -> Result<String, NotSent> {
        self.flask.notify(order).await
    }

    async fn sweep(&self, keep: &Keep) -> Result<Vec<String>, String> {
        self.flask.sweep(keep).await
    }
}

/// Asks the candidate, which nobody else can reach yet.
async fn is_quick(order: &Order, output: &Output) -> Result<(), String> {
    let candidate = order.run.candidate.as_ref().ok_or("there is no candidate")?;
    let mut slowest = Duration::ZERO;
    for _ in 0..REQUESTS {
        let since = Instant::now();
        get(candidate.address).await.map_err(|error| format!("the candidate did not answer: {error}"))?;
        slowest = slowest.max(since.elapsed());
    }
    output.line(&format!("{REQUESTS} requests, the slowest in {slowest:?}"));
    if slowest > SLOWEST {
        return Err(format!(
            "expected each of {REQUESTS} answers within {SLOWEST:?}, the slowest took {slowest:?}"
        ));
    }
    Ok(())
}

async fn get(address: std::net::SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: candidate\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(())
}

/// Prints what happens to a run, until nothing more does without a person.
async fn tell(engine: &Engine, run: RunId) -> Result<Run, Box<dyn Error>> {
    let mut events = engine.watch(run);
    // `watch` ends with the run, and a parked run has not ended: how far to follow, `settled` knows.
    let mut settled = pin!(engine.settled(run));
    let mut ended: Option<Run> = None;
    let mut told = 0;
    while ended.as_ref().is_none_or(|ended| told < ended.seq) {
        tokio::select! {
            Some(envelope) = events.next() => {
                let envelope = envelope?;
                told = envelope.seq;
                println!("{told:>3}  {}", serde_json::to_string(&envelope.event)?);
            }
            run = &mut settled, if ended.is_none() => ended = Some(run?),
            else => break,
        }
    }
    ended.ok_or_else(|| "the engine has stopped".into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: embedded PATH-OF-A-GIT-REPOSITORY")?;
    // The log keeps it for the next service, which may start in another folder.
    let path = std::path::absolute(path)?;
    let options = ComposeOptions {
        data: std::env::var_os("LANDFALL_DATA").map_or_else(|| ".landfall".into(), PathBuf::from),
        secrets: None,
        vault_key: None,
        proxy_listen: std::env::var("PROXY_LISTEN").ok().map(|address| address.parse()).transpose()?,
        adopt_proxy: false,
        edge: EdgeWish::default(),
        // The traffic proxy is a process of its own: the `landfall` binary beside this one.
        exe: std::env::current_exe()?.with_file_name("landfall"),
        limits: Limits::default(),
        store: Options::default(),
    };
    // Opening goes on with every run that a crash of this service interrupted.
    let landfall = Landfall::open_with(options, |flask| Arc::new(StricterStages { flask })).await?;

    let push = Push {
        lane: LaneId::production("embedded"),
        commit: landfall_stages::git::head(&path).await?,
        repository: path.display().to_string(),
        trigger: "our own service".into(),
        release_hold: false,
    };
    let run = landfall.engine.trigger(push, "our own service", None).await?.run_id;
    let ended = tell(&landfall.engine, run).await?;
    match ended.parked() {
        Some(_) => println!("parked at {}; `landfall show {run}` tells why", ended.state),
        None => println!("{}", ended.state),
    }
    landfall.shutdown().await;
    Ok(())
}
