//! The smallest service with an engine inside: deploys HEAD of a repository and says how it ended.
//!
//! ```sh
//! cargo build -p landfall && cargo run -p landfall-examples --bin small -- path/to/a/flask/app
//! ```

use std::error::Error;
use std::path::PathBuf;

use landfall::compose::{ComposeOptions, EdgeWish, Landfall, Options};
use landfall_engine::Limits;
use landfall_engine::core::command::Push;
use landfall_engine::core::lane::LaneId;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: small PATH-OF-A-GIT-REPOSITORY")?;
    // The log keeps it for the next service, which may start in another folder.
    let path = std::path::absolute(path)?;
    let options = ComposeOptions {
        data: std::env::var_os("LANDFALL_DATA").map_or_else(|| ".landfall".into(), PathBuf::from),
        secrets: None,
        vault_key: std::env::var_os("LANDFALL_VAULT_KEY_FILE").map(PathBuf::from),
        proxy_listen: std::env::var("PROXY_LISTEN").ok().map(|address| address.parse()).transpose()?,
        adopt_proxy: false,
        host_tests: false,
        edge: EdgeWish::default(),
        // The traffic proxy is a process of its own: the `landfall` binary beside this one.
        exe: std::env::current_exe()?.with_file_name("landfall"),
        limits: Limits::default(),
        store: Options::default(),
    };
    // Opening goes on with every run that a crash of this service interrupted.
    let landfall = Landfall::open(options).await?;

    let push = Push {
        lane: LaneId::production("shop"),
        commit: landfall_stages::git::head(&path).await?,
        repository: path.display().to_string(),
        trigger: "our own service".into(),
        release_hold: false,
    };
    // From here on the run is durable: if this process dies, the next one goes on with it.
    let run = landfall.engine.trigger(push, "our own service", None).await?.run_id;
    let ended = landfall.engine.settled(run).await?;
    match ended.parked() {
        Some(parked) => println!("{run} waits for a person: {}", parked.reason),
        None => println!("{run} ended: {}", ended.state),
    }
    landfall.shutdown().await;
    Ok(())
}
