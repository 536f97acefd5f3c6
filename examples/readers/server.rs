//! The server of the measurement: everything is real but the stages.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use landfall::data_dir::Token;
use landfall::server::{App, Server, Vitals, serve_app};
use landfall_engine::core::command::Push;
use landfall_engine::core::event::Commit;
use landfall_engine::core::lane::LaneId;
use landfall_engine::engine::Parts;
use landfall_engine::ports::SystemClock;
use landfall_engine::{Engine, Limits};
use landfall_stages::secrets::Secrets;
use landfall_store::{DataDir, Options};

use crate::Figures;
use crate::pretend::{PretendedStages, TimedStore};

/// What opens it.
pub(crate) const TOKEN: &str = "a-token-for-this-measurement";
/// How many apps have runs, one after the other.
const APPS: usize = 4;
/// The pause between two runs of an app.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves until it is told to end. Says where it is, and at the end of the runs what they took.
pub(crate) async fn serve() -> Result<(), Box<dyn Error>> {
    crate::raise_open_files();
    let data = std::env::temp_dir().join(format!("landfall-readers-{}", std::process::id()));
    let opened = DataDir::open(&data, &Options::default())?;
    let store = Arc::new(TimedStore::new(opened.store));
    let parts = Parts {
        store: Arc::clone(&store) as _,
        executor: Arc::new(PretendedStages),
        outputs: Arc::clone(&opened.outputs) as _,
        clock: Arc::new(SystemClock),
    };
    let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
    let address = server.address();
    let engine = Engine::start_within(parts, Limits::default()).await?;
    let (exe, tokens) = (std::env::current_exe()?, vec![Token::parse(TOKEN, "the measurement")?]);
    let app = Arc::new(App::new(
        engine,
        opened.outputs,
        &data,
        &exe,
        tokens,
        Secrets::default(),
        Vitals::default(),
    )?);
    let serving = tokio::spawn(serve_app(server, Arc::clone(&app)));
    println!("{address}");

    let before_kib = resident_kib();
    word().await?;
    let runs: Vec<_> =
        (0..APPS).map(|i| tokio::spawn(run_on(app.engine.clone(), format!("app-{i}")))).collect();
    word().await?;
    runs.iter().for_each(tokio::task::JoinHandle::abort);
    until_quiet(&app.engine).await?;
    let after_kib = resident_kib();
    let (events, appends) = store.noted();
    let at =
        |percent: usize| appends.get(appends.len() * percent / 100).map_or(0, |took| took.as_micros() as u64);
    let figures =
        Figures { events, append_p50_us: at(50), append_p99_us: at(99), rss_kib: (before_kib, after_kib) };
    println!("{}", serde_json::to_string(&figures)?);

    word().await?;
    app.stop.cancel();
    serving.await??;
    app.engine.shutdown().await;
    std::fs::remove_dir_all(&data)?;
    Ok(())
}

/// Waits until the other process says something.
async fn word() -> Result<(), Box<dyn Error>> {
    let heard = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    match heard.await?? {
        0 => Err("the other process has gone".into()),
        _ => Ok(()),
    }
}

/// Starts one run after the other, each once the one before has settled.
async fn run_on(engine: Engine, app: String) {
    for number in 0.. {
        let commit =
            Commit { sha: format!("{number:040x}"), branch: Some("main".into()), ..Commit::default() };
        let push = Push {
            lane: LaneId::production(app.clone()),
            commit,
            repository: "/nowhere".into(),
            trigger: "measurement".into(),
            release_hold: false,
        };
        match engine.trigger(push, "measurement", None).await {
            Ok(triggered) => drop(engine.settled(triggered.run_id).await),
            Err(error) => return eprintln!("no run of {app}: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until every run that began has ended, so that all readers have the same to read.
async fn until_quiet(engine: &Engine) -> Result<(), Box<dyn Error>> {
    for run in engine.store().open_runs().await? {
        engine.settled(run).await?;
    }
    Ok(())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
