//! Services as text: their containers, their variables, what they listen on.

use std::sync::Arc;

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Commit, Event, Origin};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use uuid::Uuid;

use super::*;

fn order() -> Order {
    let id = RunId(Uuid::from_u128(7));
    let commit = Commit { sha: "c".repeat(40), ..Commit::default() };
    let origin = Origin::Push { commit, repository: "/srv/shop.git".into(), release_hold: false };
    let started = Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "test".into() };
    let mut run = evolve(None, Place { run_id: id, seq: 1, at_ms: 0 }, &started).unwrap();
    run.settings = Some(Box::new(Settings { service: "shop".into(), ..Settings::default() }));
    let key = EffectKey::stage(id, Stage::Test, 1);
    Order { run: Arc::new(run), stage: Stage::Test, attempt: 1, key, deadline_ms: 0, log_id: Uuid::nil() }
}

fn with(services: &[(&str, &str)], env: &[(&str, &str)]) -> TestSettings {
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    TestSettings { services: owned(services), env: owned(env), ..TestSettings::default() }
}

#[test]
fn a_service_is_ours_by_its_labels_and_the_tests_by_its_name() {
    let settings = with(&[("db", "postgres:16")], &[]);
    let order = order();
    let found = services(&order, &settings).unwrap();
    let body = body(&order, &found[0], Limits::of_tests(&settings), "net");
    let labels = body.labels.unwrap();
    assert!(plan::is_of(&order, Some(&labels)));
    assert_eq!(labels[plan::LABEL_SERVICE], "db");
    assert!(labels.contains_key(plan::LABEL_RUN), "the sweep knows whose it was");
    let host = body.host_config.unwrap();
    assert_eq!((host.network_mode.as_deref(), host.cap_drop), (Some("net"), Some(vec!["ALL".to_owned()])));
    assert_eq!(host.port_bindings, None, "nobody else reaches it");
    let endpoints = body.networking_config.unwrap().endpoints_config.unwrap();
    assert_eq!(endpoints["net"].aliases, Some(vec!["db".to_owned()]));
    assert_eq!(
        body.env.unwrap(),
        ["POSTGRES_DB=test", "POSTGRES_PASSWORD=postgres", "POSTGRES_USER=postgres"]
    );
}

#[test]
fn tests_without_services_stay_on_dockers_own_network() {
    assert_eq!(network(&order(), &TestSettings::default()), Ok(None));
    let named = network(&order(), &with(&[("db", "postgres")], &[])).unwrap();
    assert_eq!(named, Some(plan::network_name(&order()).unwrap()));
}

#[test]
fn of_two_databases_the_first_one_is_the_apps() {
    let env = environment(&with(&[("b", "postgres"), ("a", "mysql"), ("c", "redis"), ("d", "nginx")], &[]));
    assert_eq!(env["DATABASE_URL"], "mysql://root:root@a:3306/test");
    assert_eq!((env["PGHOST"].as_str(), env["REDIS_HOST"].as_str()), ("b", "c"));
}

#[test]
fn a_port_is_open_when_others_than_the_container_itself_are_heard_there() {
    let v4 = |address: &str, state: &str| {
        format!(
            "  sl  local_address rem_address   st\n   0: {address}:1538 00000000:0000 {state} 00000000:0\n"
        )
    };
    assert!(listens(&v4("00000000", "0A"), 5432));
    assert!(listens(&v4("020011AC", "0A"), 5432), "on the address of its network");
    assert!(!listens(&v4("00000000", "0A"), 5433));
    assert!(!listens(&v4("0100007F", "0A"), 5432), "on the loopback");
    assert!(!listens(&v4("00000000", "01"), 5432), "a connection");
    assert!(listens(&v4(&"0".repeat(32), "0A"), 5432), "IPv6");
    assert!(!listens(&v4("00000000000000000000000001000000", "0A"), 5432), "IPv6's loopback");
    assert!(!listens(&v4("0000000000000000FFFF00000100007F", "0A"), 5432), "IPv4's loopback in IPv6");
    assert!(!listens("", 5432) && !listens("nonsense 1538 0A", 5432));
}
