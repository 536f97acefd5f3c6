//! The git remote: `git push http://HOST/git/shop.git main` over the port of the API.
//!
//! ```text
//! git push ──HTTP──▶ gate (token, name) ──▶ cgi: git http-backend ──▶ DATA/git/shop.git
//!                                                     └─ post-receive: `landfall hook`
//!                                                            │ unix socket, push id
//! pusher's terminal ◀──stderr of git◀── lines ◀── hooks ◀────┘ ──trigger──▶ engine
//! ```
//!
//! Git does the git; we decide who may push where, and what a push leads to. What is pushed chooses neither
//! hooks nor settings: both come from our own command line and folder.
//!
//! There is no `pre-receive`: what would be refused there (a wrong token or name, an engine that can't record)
//! is refused in `gate` before git starts, and anything else that is pushed is worth keeping.

mod catch_up;
mod cgi;
mod destination;
mod gate;
mod heads;
mod hooks;
#[doc(hidden)]
pub mod nonsense;
mod protocol;
mod pushes;
mod telling;
mod turns;
mod waiting;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use tokio_util::task::TaskTracker;

use crate::server::App;

pub use catch_up::trigger_what_was_lost;
pub(crate) use heads::head as head_of;
pub use hooks::{HookError, serve_hooks};
pub use protocol::{PUSH_VARIABLE, SOCKET_VARIABLE, Told, Update, say_to_server};
pub(crate) use telling::environment_of;
pub use waiting::trigger_what_waits;

use pushes::Pushes;
use turns::Turns;
use waiting::Waiting;

/// The longest path a unix socket may have.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What every hook is: a way back into the binary that started the server.
const HOOK: &str = "#!/bin/sh\nexec \"$LANDFALL_EXE\" hook post-receive\n";

/// Where pushes come in.
#[derive(Debug)]
pub struct GitRemote {
    /// The folder of the bare repositories.
    root: PathBuf,
    /// The folder of our hooks.
    hooks: PathBuf,
    /// Where hooks reach this process.
    socket: PathBuf,
    /// Holds the socket when the data folder's path is too long for one.
    _socket_dir: Option<PrivateDir>,
    /// The binary that hooks run.
    exe: PathBuf,
    /// The pushes that are going on.
    pushes: Arc<Pushes>,
    /// What was pushed when there was no room for its run.
    waiting: Waiting,
    /// Held from the look at a branch to the trigger of what was seen.
    turns: Turns,
    /// Gits that must be let finish.
    receiving: TaskTracker,
}

impl GitRemote {
    /// Prepares a data folder for pushes: repositories, hooks.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn prepare(data: &Path, exe: &Path) -> io::Result<Self> {
        let data = std::path::absolute(data)?;
        let (root, hooks) = (data.join("git"), data.join("hooks"));
        std::fs::create_dir_all(&root)?;
        std::fs::create_dir_all(&hooks)?;
        write_hook(&hooks.join("post-receive"))?;
        let in_data = data.join("hook.sock");
        let (socket, socket_dir) = match in_data.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            true => (in_data, None),
            false => {
                let dir = PrivateDir::new()?;
                (dir.0.join("hook.sock"), Some(dir))
            }
        };
        Ok(Self {
            root,
            hooks,
            socket,
            _socket_dir: socket_dir,
            exe: exe.to_owned(),
            pushes: Arc::default(),
            waiting: Waiting::default(),
            turns: Turns::default(),
            receiving: TaskTracker::new(),
        })
    }

    /// Returns how many pushes of an app are being triggered, or wait until another is: they go one at a time.
    pub fn in_line(&self, app: &str) -> usize {
        self.turns.in_line(app)
    }

    /// Waits for the turn of an app: who has it is the only one that triggers what was pushed to the app, until the guard
    /// is dropped.
    pub(crate) async fn turn(&self, app: &str) -> tokio::sync::OwnedMutexGuard<()> {
        self.turns.take(app).await
    }

    /// Waits until every git that receives a push has ended.
    pub async fn finished(&self) {
        self.receiving.close();
        self.receiving.wait().await;
    }
}

/// Answers a request of a git client.
pub(crate) async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    match gate::admit(&app, request).await {
        Ok(admitted) => cgi::relay(&app, admitted).await.unwrap_or_else(|error| error.into_text_response()),
        Err(error) => error.into_text_response(),
    }
}

fn write_hook(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Written beside and renamed: a push may be running the one that is there.
    let draft = path.with_extension("tmp");
    std::fs::write(&draft, HOOK)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&draft, path)
}

/// A folder that only we can look into, removed when it is dropped.
#[derive(Debug)]
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("landfall-{}", uuid::Uuid::new_v4().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
