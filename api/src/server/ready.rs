//! `GET /readyz`: whether a push would be taken now, and could come live.
//!
//! ```text
//! log, stopping, disk           asked of the engine each time
//! docker, proxy, registry, …    asked of the world, each with its own limit, and remembered for a moment
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::App;

/// How long an answer of the world is good for: load balancers ask each second, and from several places.
const FRESH: Duration = Duration::from_secs(3);
/// What one check may take, whatever limits it has itself.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Something that can be asked whether it is well.
#[async_trait]
pub trait Check: Send + Sync + fmt::Debug + 'static {
    /// Returns its name, which is also its label in the metrics.
    fn name(&self) -> &'static str;

    /// Tells whether a server is not ready while this is not well. Otherwise it is only shown.
    fn decides(&self) -> bool {
        true
    }

    /// Looks, and says why it is not well.
    async fn look(&self) -> Result<(), String>;
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of which check.
    pub name: &'static str,
    /// Whether it decides.
    pub decides: bool,
    /// Why it is not well, if so.
    pub problem: Option<String>,
}

/// The checks that ask the world.
#[derive(Debug, Default)]
pub struct Checks {
    checks: Vec<Arc<dyn Check>>,
    last: Mutex<Option<(Instant, Vec<Finding>)>>,
}

impl Checks {
    /// Returns these checks; nothing is asked yet.
    pub fn new(checks: Vec<Arc<dyn Check>>) -> Self {
        Self { checks, last: Mutex::default() }
    }

    /// Returns what they find now, or found a moment ago. Whoever asks meanwhile waits for the same answer.
    pub async fn look(&self) -> Vec<Finding> {
        let mut last = self.last.lock().await;
        if let Some((at, findings)) = &*last
            && at.elapsed() < FRESH
        {
            return findings.clone();
        }
        let findings = join_all(self.checks.iter().map(|check| found(check.as_ref()))).await;
        *last = Some((Instant::now(), findings.clone()));
        findings
    }
}

async fn found(check: &dyn Check) -> Finding {
    let problem = match tokio::time::timeout(CHECK_TIMEOUT, check.look()).await {
        Ok(looked) => looked.err(),
        Err(_) => Some(format!("it did not answer within {} s", CHECK_TIMEOUT.as_secs())),
    };
    Finding { name: check.name(), decides: check.decides(), problem }
}

/// Returns every finding: of the engine first, then of the world.
pub(super) async fn findings(app: &App) -> Vec<Finding> {
    let decisive = |name, problem| Finding { name, decides: true, problem };
    let stopping = app.stop.is_cancelled().then(|| "the server is stopping".to_owned());
    let low = app.engine.store().admits().await.err().map(|low| low.to_string());
    let own = [decisive("log", app.halted()), decisive("running", stopping), decisive("disk", low)];
    own.into_iter().chain(app.vitals.checks.look().await).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(Arc<AtomicUsize>);

    #[async_trait]
    impl Check for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        async fn look(&self) -> Result<(), String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err("never well".into())
        }
    }

    #[tokio::test]
    async fn many_who_ask_at_once_are_one_question_to_the_world() {
        let asked = Arc::new(AtomicUsize::new(0));
        let checks = Checks::new(vec![Arc::new(Counting(Arc::clone(&asked)))]);
        let all = join_all((0..20).map(|_| checks.look())).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let finding = Finding { name: "counting", decides: true, problem: Some("never well".into()) };
        assert!(all.iter().all(|findings| *findings == [finding.clone()]));
    }
}
