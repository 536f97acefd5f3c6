//! A traffic proxy that somebody else keeps running, such as systemd: waited for, adopted, never started.
//!
//! Two who bring back the same proxy would fight for its folder and its port, and the one that lost would have it in a
//! place where it ends with the engine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use landfall_stages::proxy::{ProxyClient, ProxyInfo};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::spawn::{ProxyState, SpawnError, Supervisor};

/// A service manager starts a process in a moment, after a pause of its own of some seconds at most.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// The pause between two looks: a process that starts has no other way to tell us.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Returns the proxy of the folder `dir`, once it answers.
///
/// # Errors
///
/// [`SpawnError::NotKept`] when none has come.
pub async fn adopt_running(dir: &Path) -> Result<ProxyInfo, SpawnError> {
    adopt_within(dir, WAIT_MAX).await
}

async fn adopt_within(dir: &Path, limit: Duration) -> Result<ProxyInfo, SpawnError> {
    let (client, since) = (ProxyClient::in_dir(dir), Instant::now());
    loop {
        match client.info().await {
            Ok(info) => {
                tracing::info!(pid = info.pid, listen = %info.listen, "the traffic proxy was adopted");
                return Ok(info);
            }
            Err(source) if since.elapsed() >= limit => {
                return Err(SpawnError::NotKept { dir: dir.to_owned(), source });
            }
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Watches the proxy `info` of the folder `dir`, and adopts the one that comes after it.
pub fn watch_running(dir: &Path, info: ProxyInfo) -> Supervisor {
    let (tell, state) = watch::channel(ProxyState::Serving(info));
    let (stop, dir) = (CancellationToken::new(), dir.to_owned());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        stopped.run_until_cancelled(forever(dir, tell)).await;
    });
    Supervisor { state, stop, task }
}

async fn forever(dir: PathBuf, tell: watch::Sender<ProxyState>) {
    let client = ProxyClient::in_dir(&dir);
    loop {
        // An error means that it is gone already.
        let _ = client.until_gone().await;
        tracing::warn!("the traffic proxy is gone: whoever keeps it has to start it again");
        let state = match adopt_running(&dir).await {
            Ok(info) => ProxyState::Serving(info),
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(cause, "there is no traffic proxy");
                ProxyState::Down { reason: error.to_string() }
            }
        };
        tell.send_replace(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_that_nobody_keeps_is_missed_and_none_is_started() {
        let dir = tempfile::tempdir().unwrap();
        let error = adopt_within(dir.path(), Duration::ZERO).await.unwrap_err().to_string();
        assert!(error.contains("landfall proxy --dir"), "{error}");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
