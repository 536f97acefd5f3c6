//! The checks of `/readyz` that ask what a server depends on: Docker, the proxy, registries, certificates.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use landfall_engine::ports::EventStore;
use landfall_stages::vitals::Vitals;

use crate::server::Check;
use crate::tls::Certificates;

/// Returns the checks of a server that works with these.
pub fn all(
    vitals: &Vitals,
    store: &Arc<dyn EventStore>,
    certificates: Option<Arc<Certificates>>,
) -> Vec<Arc<dyn Check>> {
    let mut checks: Vec<Arc<dyn Check>> = vec![
        Arc::new(Docker(vitals.clone())),
        Arc::new(Proxy(vitals.clone())),
        Arc::new(Registries { vitals: vitals.clone(), store: Arc::clone(store) }),
    ];
    if let Some(certificates) = certificates {
        checks.push(Arc::new(CertificateFiles(certificates)));
    }
    checks
}

/// Tests, builds and deploys are done by it.
#[derive(Debug)]
struct Docker(Vitals);

#[async_trait]
impl Check for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn look(&self) -> Result<(), String> {
        self.0.docker().await
    }
}

/// Nothing goes live without it.
#[derive(Debug)]
struct Proxy(Vitals);

#[async_trait]
impl Check for Proxy {
    fn name(&self) -> &'static str {
        "proxy"
    }

    async fn look(&self) -> Result<(), String> {
        self.0.proxy().await
    }
}

/// The registries of the releases that serve. One that is silent concerns its apps, and may be somebody else's
/// to mend: the server takes pushes all the same, and their runs try again.
#[derive(Debug)]
struct Registries {
    vitals: Vitals,
    store: Arc<dyn EventStore>,
}

#[async_trait]
impl Check for Registries {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn decides(&self) -> bool {
        false
    }

    async fn look(&self) -> Result<(), String> {
        let lanes = self.store.lanes().await.map_err(|error| error.to_string())?;
        let host = |repository: &str| repository.split('/').next().map(str::to_owned);
        let live = lanes.iter().filter_map(|(_, lane)| lane.live.as_ref());
        let hosts: BTreeSet<_> = live.filter_map(|release| host(&release.image.repository)).collect();
        let asked = join_all(hosts.iter().map(|host| self.vitals.registry(host))).await;
        let silent: Vec<_> = asked.into_iter().filter_map(Result::err).collect();
        if silent.is_empty() { Ok(()) } else { Err(silent.join("; ")) }
    }
}

/// What was in force stays so; somebody has to know before it expires.
#[derive(Debug)]
struct CertificateFiles(Arc<Certificates>);

#[async_trait]
impl Check for CertificateFiles {
    fn name(&self) -> &'static str {
        "certificates"
    }

    fn decides(&self) -> bool {
        false
    }

    async fn look(&self) -> Result<(), String> {
        let problems = self.0.problems();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}
