//! The rollback on a proxy and a former release that pretend.

use std::net::SocketAddr;
use std::sync::Arc;

use landfall_engine::core::lane::Release;
use landfall_engine::core::run::Run;
use landfall_engine::core::settings::Mount;
use landfall_engine::core::stage::Stage;

use super::*;
use crate::proxy::Route;
use crate::testing::Lines;
use crate::testing::Reply;
use crate::testing::World;
use crate::testing::former_run;
use crate::testing::log_id;
use crate::testing::release;
use crate::testing::rollback_order;
use crate::testing::run as a_run;
use crate::testing::tcp;
use crate::testing::world_route;

const NEW: &str = "landfall-shop-new";
const FORMER: &str = "landfall-shop-former";

/// A world in which the run's candidate and the former release have containers, and the former app answers.
struct Deployed {
    world: World,
    former: Release,
    run: Run,
}

impl Deployed {
    async fn over_a_former_release() -> Self {
        let world = World::with(&[("KEY", "c0rrect-h0rse")]).await;
        let (address, _) = tcp(|_| Reply::new(200, "the former page")).await;
        let former = release(address);
        let run = a_run(([127, 0, 0, 1], 20_001).into(), Some(former.clone()), Settings::default());
        world.docker.add(NEW, &labels(&run.id.to_string()), true, 20_001);
        world.docker.add(FORMER, &labels(&former_run().to_string()), true, address.port());
        Self { world, former, run }
    }

    /// Removes the former release's container, and returns the order of whoever knows how it was made.
    fn without_the_former_container(&mut self) -> RollbackOrder {
        self.former.image.digest = format!("sha256:{}", "f0".repeat(32));
        self.run.entry.as_mut().unwrap().replaces = Some(self.former.clone());
        self.world.proxy.set(Some(self.ours()));
        self.world.docker.remove(FORMER);
        let image = Some(self.former.image.clone());
        let former = Run { id: former_run(), image, ..self.run.clone() };
        RollbackOrder { former: Some(Arc::new(former)), ..rollback_order(self.run.clone()) }
    }

    async fn first() -> Self {
        let deployed = Self::over_a_former_release().await;
        let run = a_run(([127, 0, 0, 1], 20_001).into(), None, Settings::default());
        Self { run, ..deployed }
    }

    fn ours(&self) -> Route {
        let run = self.run.id.to_string();
        Route { run, ..world_route(7, self.run.candidate.as_ref().map(|c| c.address), "sha256:new") }
    }

    fn formers(&self, generation: u64) -> Route {
        let run = former_run().to_string();
        Route { run, ..world_route(generation, Some(self.former.candidate.address), "sha256:former") }
    }

    async fn rolled_back(&self) -> RollbackOutcome {
        let order = rollback_order(self.run.clone());
        run(&self.world.context, &order, &Lines::default().output()).await
    }
}

fn labels(run: &str) -> [(&'static str, String); 2] {
    [(plan::LABEL_LOG, log_id().to_string()), (plan::LABEL_RUN, run.to_owned())]
}

#[track_caller]
fn proof(outcome: RollbackOutcome) -> (Option<String>, String) {
    match outcome {
        RollbackOutcome::Succeeded { serving, proof } => (serving, proof),
        RollbackOutcome::Errored { reason } => panic!("expected a proof, found: {reason}"),
    }
}

#[track_caller]
fn reason(outcome: RollbackOutcome) -> String {
    match outcome {
        RollbackOutcome::Errored { reason } => reason,
        RollbackOutcome::Succeeded { proof, .. } => panic!("expected an error, found the proof: {proof}"),
    }
}

#[tokio::test]
async fn the_traffic_goes_back_the_candidate_goes_and_the_former_release_is_seen() {
    let deployed = Deployed::over_a_former_release().await;
    deployed.world.proxy.set(Some(deployed.ours()));
    let (serving, proof) = proof(deployed.rolled_back().await);
    assert_eq!(serving.as_deref(), Some("sha256:former"));
    let public = deployed.world.proxy.public;
    assert_eq!(
        proof,
        format!("GET / at http://{public} was answered with 200 by sha256:former, generation 8")
    );
    assert_eq!(deployed.world.proxy.route(), Some(deployed.formers(8)));
    assert_eq!(deployed.world.docker.containers(), [format!("{FORMER}+")]);
}

#[tokio::test]
async fn doing_it_twice_is_doing_it_once() {
    let deployed = Deployed::over_a_former_release().await;
    deployed.world.proxy.set(Some(deployed.ours()));
    let first = deployed.rolled_back().await;
    assert_eq!(deployed.rolled_back().await, first);
    assert_eq!(deployed.world.proxy.switches().len(), 1);
}

#[tokio::test]
async fn a_deploy_that_never_had_traffic_leaves_the_route_alone() {
    let mut deployed = Deployed::over_a_former_release().await;
    deployed.run.done = Some(Stage::PushImage);
    deployed.world.proxy.set(Some(deployed.formers(5)));
    let (serving, _) = proof(deployed.rolled_back().await);
    assert_eq!(serving.as_deref(), Some("sha256:former"));
    assert_eq!(deployed.world.proxy.route(), Some(deployed.formers(5)));
    assert_eq!(deployed.world.docker.containers(), [format!("{FORMER}+")]);
}

#[tokio::test]
async fn a_switch_that_may_still_arrive_is_shut_out() {
    let deployed = Deployed::over_a_former_release().await;
    deployed.world.proxy.set(Some(deployed.formers(5)));
    proof(deployed.rolled_back().await);
    let late = deployed.world.context.proxy.switch(deployed.ours()).await;
    assert!(matches!(late, Err(crate::proxy::ProxyError::Stale { current: 8 })), "{late:?}");
}

#[tokio::test]
async fn a_former_release_that_was_stopped_is_started_before_it_gets_traffic() {
    let deployed = Deployed::over_a_former_release().await;
    let port = deployed.former.candidate.address.port();
    deployed.world.docker.add(FORMER, &labels(&former_run().to_string()), false, port);
    deployed.world.proxy.set(Some(deployed.ours()));
    proof(deployed.rolled_back().await);
    assert_eq!(deployed.world.docker.containers(), [format!("{FORMER}+")]);
}

#[tokio::test]
async fn a_former_release_that_is_gone_or_silent_gets_no_traffic() {
    let mut deployed = Deployed::over_a_former_release().await;
    deployed.world.proxy.set(Some(deployed.ours()));
    let nobody: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let former = deployed.run.entry.as_mut().unwrap().replaces.as_mut().unwrap();
    former.candidate.address = nobody;
    deployed.run.settings.as_mut().unwrap().deploy.timeout_ms = 100;
    assert_eq!(
        reason(deployed.rolled_back().await),
        format!(
            "the former release's container {FORMER} gives no good answer within 100ms: look at `docker logs {FORMER}`"
        )
    );
    let former = deployed.run.entry.as_mut().unwrap().replaces.as_mut().unwrap();
    former.candidate.container_id = "another".into();
    let said = reason(deployed.rolled_back().await);
    assert_eq!(
        said,
        format!(
            "there is a container {FORMER} that the former release was not served by: see `docker inspect {FORMER}`, \
             and remove or rename it"
        )
    );
    assert_eq!(
        deployed.world.proxy.route(),
        Some(deployed.ours()),
        "the candidate serves until somebody else can"
    );
    assert_eq!(deployed.world.docker.containers().len(), 2);
}

#[tokio::test]
async fn a_former_release_that_is_gone_and_whose_run_cannot_be_read_keeps_the_candidate_serving() {
    let deployed = Deployed::over_a_former_release().await;
    deployed.world.proxy.set(Some(deployed.ours()));
    deployed.world.docker.remove(FORMER);
    assert_eq!(
        reason(deployed.rolled_back().await),
        format!(
            "the former release's container {FORMER} is gone, and how it was configured can't be read: deploy \
             127.0.0.1:5000/shop@sha256:former again"
        )
    );
    assert_eq!(deployed.world.proxy.route(), Some(deployed.ours()));
}

#[tokio::test]
async fn a_former_release_that_is_gone_is_made_again_where_it_was() {
    let mut deployed = Deployed::over_a_former_release().await;
    let order = deployed.without_the_former_container();
    let digest = deployed.former.image.digest.clone();
    let lines = Lines::default();
    let (serving, _) = proof(run(&deployed.world.context, &order, &lines.output()).await);
    assert_eq!(serving, Some(digest.clone()));
    assert_eq!(deployed.world.docker.containers(), [format!("{FORMER}+")]);
    let route = Route { release: digest.clone(), ..deployed.formers(8) };
    assert_eq!(deployed.world.proxy.route(), Some(route));
    let said = format!("{FORMER} is gone; making it again from 127.0.0.1:5000/shop@{digest}");
    assert_eq!(lines.seen()[0], said);
    // Once more, as after a crash.
    proof(run(&deployed.world.context, &order, &lines.output()).await);
}

#[tokio::test]
async fn a_former_release_that_is_made_again_has_its_secret_files() {
    let mut deployed = Deployed::over_a_former_release().await;
    let settings = deployed.run.settings.as_mut().unwrap();
    settings.env.files.insert("/run/key".into(), "KEY".into());
    let order = deployed.without_the_former_container();
    proof(run(&deployed.world.context, &order, &Lines::default().output()).await);
    assert!(deployed.world.docker.has_files(FORMER));
}

#[tokio::test]
async fn a_host_that_was_new_in_this_commit_goes_back_to_the_one_before() {
    let deployed = Deployed::over_a_former_release().await;
    let before = Route { host: Some("old.example.com".into()), ..deployed.formers(5) };
    deployed.world.proxy.set(Some(before));
    let entry = deployed.run.entry.as_ref().unwrap();
    crate::former_route::remember(&deployed.world.context, &deployed.run, entry).await.unwrap();
    deployed.world.proxy.set(Some(Route { host: Some("new.example.com".into()), ..deployed.ours() }));
    proof(deployed.rolled_back().await);
    assert_eq!(deployed.world.proxy.route().unwrap().host.as_deref(), Some("old.example.com"));
}

#[tokio::test]
async fn a_prefix_that_was_new_in_this_commit_goes_too_and_the_proof_asks_where_the_former_one_is() {
    let mut deployed = Deployed::over_a_former_release().await;
    let mount = |prefix: &str| Some(Mount { prefix: prefix.into(), strip: true });
    deployed.world.proxy.set(Some(Route { mount: mount("/old"), ..deployed.formers(5) }));
    let entry = deployed.run.entry.as_ref().unwrap();
    crate::former_route::remember(&deployed.world.context, &deployed.run, entry).await.unwrap();
    deployed.run.settings.as_mut().unwrap().proxy.mount = mount("/new");
    deployed.world.proxy.set(Some(Route { mount: mount("/new"), ..deployed.ours() }));
    let (_, proof) = proof(deployed.rolled_back().await);
    assert!(proof.starts_with("GET /old/ at http://"), "{proof}");
    assert_eq!(deployed.world.proxy.route().unwrap().mount, mount("/old"));
}

#[tokio::test]
async fn after_a_first_deploy_nothing_serves() {
    let deployed = Deployed::first().await;
    deployed.world.proxy.set(Some(deployed.ours()));
    let (serving, proof) = proof(deployed.rolled_back().await);
    let public = deployed.world.proxy.public;
    assert_eq!(serving, None);
    assert_eq!(
        proof,
        format!(
            "no release serves shop/production, generation 8; GET / at http://{public} was answered with 503 by the proxy"
        )
    );
    assert_eq!(deployed.world.proxy.route().unwrap().target, None);
}

#[tokio::test]
async fn a_first_deploy_that_never_went_live_is_proved_by_the_missing_route() {
    let mut deployed = Deployed::first().await;
    deployed.run.done = Some(Stage::PushImage);
    let (_, proof) = proof(deployed.rolled_back().await);
    assert!(proof.starts_with("no release serves shop/production; GET / at "), "{proof}");
    assert!(proof.ends_with("was answered with 404 by the proxy"), "{proof}");
    assert_eq!(deployed.world.proxy.route(), None);
}

#[tokio::test]
async fn a_first_deploy_whose_host_belongs_to_another_app_has_nothing_to_take_back() {
    let deployed = Deployed::first().await;
    deployed.world.proxy.take_host("blog/production");
    let (serving, _) = proof(deployed.rolled_back().await);
    assert_eq!(serving, None);
}

#[tokio::test]
async fn without_a_proof_nothing_is_rolled_back() {
    let deployed = Deployed::over_a_former_release().await;
    deployed.world.proxy.set(Some(deployed.ours()));
    deployed.world.proxy.app_answers(Reply::new(502, "bad gateway"));
    let said = reason(deployed.rolled_back().await);
    assert!(said.contains("reached the former release sha256:former, and it answers 502"), "{said}");

    let order = rollback_order(deployed.run.clone());
    let outcome = run(&deployed.world.without_proxy(), &order, &Lines::default().output()).await;
    assert!(reason(outcome).starts_with("the traffic proxy did not answer"));
}

#[tokio::test]
async fn a_route_that_moved_on_is_somebody_elses() {
    let deployed = Deployed::over_a_former_release().await;
    deployed.world.proxy.set(Some(world_route(12, Some(([127, 0, 0, 1], 4).into()), "sha256:third")));
    assert_eq!(
        reason(deployed.rolled_back().await),
        "the traffic of shop/production was switched by run someone: expected generation 8 at most, found 12"
    );
}

#[tokio::test]
async fn containers_of_other_runs_and_other_logs_stay() {
    let deployed = Deployed::over_a_former_release().await;
    let other_log = [(plan::LABEL_LOG, "other".to_owned()), (plan::LABEL_RUN, deployed.run.id.to_string())];
    deployed.world.docker.add("landfall-other-log", &other_log, true, 1);
    deployed.world.docker.add("landfall-warm", &labels("another run"), true, 2);
    deployed.world.proxy.set(Some(deployed.ours()));
    proof(deployed.rolled_back().await);
    let left = deployed.world.docker.containers();
    assert_eq!(left, ["landfall-other-log+", &format!("{FORMER}+"), "landfall-warm+"]);
}
