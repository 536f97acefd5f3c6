//! Names, labels and container configurations, as text.

use std::sync::Arc;

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Commit, Origin};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{Phase, Run, RunState};
use landfall_engine::core::stage::Stage;

use super::*;

const RUN: &str = "0190a6ff-7b4c-7cc1-8f00-1234567890ab";
const LOG: &str = "11111111-2222-4333-8444-555555555555";

fn order(stage: Stage, attempt: u32, settings: Settings) -> Order {
    let id: RunId = RUN.parse().unwrap();
    let run = Run {
        id,
        seq: 1,
        lane: LaneId::production("shop"),
        origin: Origin::Push {
            commit: Commit { sha: "c0ffee".repeat(6) + "c0ff", ..Commit::default() },
            repository: "/srv/git/shop.git".into(),
            release_hold: false,
        },
        state: RunState::Pushed,
        phase: Phase::Ready,
        started_ms: 0,
        done: None,
        cancel: None,
        approved: false,
        laid_out: false,
        settings: Some(Box::new(settings)),
        tests: None,
        built: None,
        image: None,
        entry: None,
        deploy_begun: false,
        candidate: None,
        cause: None,
        parked_seq: 0,
        notices: BTreeMap::new(),
    };
    Order {
        run: Arc::new(run),
        stage,
        attempt,
        key: EffectKey::stage(id, stage, attempt),
        deadline_ms: 0,
        log_id: LOG.parse().unwrap(),
    }
}

fn shop() -> Settings {
    Settings { service: "shop".into(), ..Settings::default() }
}

#[test]
fn names_tell_the_service_the_run_and_the_attempt() {
    assert_eq!(
        candidate_name(&order(Stage::Deploy, 1, shop())).unwrap(),
        "landfall-shop-production-1234567890ab"
    );
    assert_eq!(
        candidate_name(&order(Stage::Deploy, 3, shop())).unwrap(),
        "landfall-shop-production-1234567890ab-3"
    );
    assert_eq!(
        one_shot_name("test", &order(Stage::Test, 2, shop())).unwrap(),
        "landfall-test-shop-1234567890ab-2"
    );
    assert_eq!(network_name(&order(Stage::Test, 2, shop())).unwrap(), "landfall-network-shop-1234567890ab-2");
    assert_eq!(
        service_name(&order(Stage::Test, 2, shop()), "db_1").unwrap(),
        "landfall-service-shop-1234567890ab-2-db_1"
    );
    let image = image_name(&order(Stage::Build, 1, shop())).unwrap();
    assert_eq!(image.to_string(), "127.0.0.1:5000/shop:run-1234567890ab");
    assert_eq!((image.host.as_str(), image.path.as_str()), ("127.0.0.1:5000", "shop"));
}

#[test]
fn a_name_that_would_lead_elsewhere_is_refused() {
    for name in ["", "../images", "a/b", "Shop", "-shop", "shop-", "a b", "shop?force=1", &"x".repeat(101)] {
        let settings = Settings { service: name.into(), ..Settings::default() };
        let order = order(Stage::Deploy, 1, settings);
        assert!(candidate_name(&order).is_err(), "{name:?}");
        assert!(one_shot_name("test", &order).is_err(), "{name:?}");
        assert!(image_name(&order).is_err(), "{name:?}");
    }
}

#[test]
fn a_test_service_is_called_as_a_host_is() {
    for name in ["", "-db", "_db", "Db", "db.local", "../db", "db/1", "d b", &"x".repeat(64)] {
        assert!(service_name(&order(Stage::Test, 1, shop()), name).is_err(), "{name:?}");
    }
}

#[test]
fn a_registry_is_a_host_and_nothing_that_hides_more() {
    for good in ["127.0.0.1:5000/shop", "localhost/shop", "ghcr.io/acme/shop", "docker.io/acme/my_shop.2"] {
        assert!(split_repository(good).is_ok(), "{good:?}");
    }
    for bad in [
        "http://x.io/shop",
        "user:pw@x.io/shop",
        "x.io:port/shop",
        "x.io:0/shop",
        "acme/shop",
        "x.io/../shop",
        "x.io/a..b",
        "x.io//shop",
        "x.io/Shop",
        "x.io/shop?q",
        "x.io/shop#f",
        "/shop",
        ".x",
    ] {
        assert!(split_repository(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_digest_is_sha256_and_64_hex_digits() {
    assert!(check_digest(&format!("sha256:{}", "0a".repeat(32))).is_ok());
    for bad in ["", "sha256:", "sha256:../images", &"a".repeat(71), &format!("sha256:{}", "0A".repeat(32))] {
        assert!(check_digest(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn every_port_of_the_range_is_tried_once_from_a_place_of_the_run() {
    let run: RunId = RUN.parse().unwrap();
    let tried: Vec<u16> = ports(run).collect();
    let distinct: std::collections::BTreeSet<u16> = tried.iter().copied().collect();
    assert_eq!((tried.len(), distinct.len()), (10_000, 10_000));
    assert_eq!((distinct.first(), distinct.last()), (Some(&20_000), Some(&29_999)));
    assert_eq!(tried[0], 20_000 + 0x90ab % 10_000);
}

#[test]
fn an_object_is_of_an_attempt_only_with_its_log_and_its_key() {
    let first = order(Stage::Deploy, 1, shop());
    let second = order(Stage::Deploy, 2, shop());
    assert!(is_of(&first, Some(&labels(&first))));
    assert!(!is_of(&second, Some(&labels(&first))));
    let foreign = Order { log_id: Uuid::nil(), ..first.clone() };
    assert!(!is_of(&foreign, Some(&labels(&first))));
    assert!(!is_of(&first, None));
}

#[test]
fn the_candidate_is_reached_from_this_machine_alone() {
    let mut settings = shop();
    settings.deploy.memory_mb = Some(256);
    let order = order(Stage::Deploy, 1, settings.clone());
    let env = BTreeMap::from([("PORT".to_owned(), "8000".to_owned()), ("A".to_owned(), "b=c".to_owned())]);
    let body = candidate(&order, &settings, "127.0.0.1:5000/shop@sha256:aa", &env, 20_007);
    let text = serde_json::to_value(&body).unwrap();
    let expected = serde_json::json!({
        "Image": "127.0.0.1:5000/shop@sha256:aa",
        "Env": ["A=b=c", "PORT=8000"],
        "ExposedPorts": { "8000/tcp": {} },
        "Labels": {
            "landfall.log": LOG,
            "landfall.run": RUN,
            "landfall.key": format!("{RUN}/deploy/1"),
            "landfall.app": "shop",
            "landfall.env": "production",
            "landfall.stage": "deploy",
            "landfall.commit": "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff",
            "landfall.port": "20007",
        },
        "HostConfig": {
            "PortBindings": { "8000/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "20007" }] },
            "RestartPolicy": { "Name": "always" },
            "Memory": 268_435_456,
            "MemorySwap": 268_435_456,
            "PidsLimit": 4_096,
            "Init": true,
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "20m", "max-file": "2" } },
            "SecurityOpt": ["no-new-privileges"],
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"],
        },
    });
    assert_eq!(text, expected);
}
