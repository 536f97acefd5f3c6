//! The test stage's container and script, as text.

use std::sync::Arc;

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Commit, Event, Origin};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use uuid::Uuid;

use bollard::models::MountType;

use super::*;

fn order() -> Order {
    let id = RunId(Uuid::from_u128(7));
    let commit = Commit { sha: "c".repeat(40), branch: Some("main".into()), ..Commit::default() };
    let origin = Origin::Push { commit, repository: "/srv/shop.git".into(), release_hold: false };
    let started = Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "test".into() };
    let run = evolve(None, Place { run_id: id, seq: 1, at_ms: 0 }, &started).unwrap();
    let key = EffectKey::stage(id, Stage::Test, 1);
    Order { run: Arc::new(run), stage: Stage::Test, attempt: 1, key, deadline_ms: 0, log_id: Uuid::nil() }
}

fn needed() -> Dependencies {
    Dependencies {
        named_by: "requirements.txt".into(),
        install: "i\n".into(),
        unless: None,
        hash: "0f".into(),
        packages: vec![],
    }
}

#[test]
fn the_container_has_limits_an_init_a_bounded_log_and_no_way_to_more_rights() {
    let settings = TestSettings { memory_mb: 512, cpu_millis: 1_500, ..TestSettings::default() };
    let host = body(&order(), &settings, Some(&needed()), Path::new("/nowhere"), None).host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(512 << 20), Some(512 << 20)));
    assert_eq!(
        (host.pids_limit, host.cpu_period, host.cpu_quota),
        (Some(1_024), Some(100_000), Some(150_000))
    );
    assert_eq!((host.init, host.auto_remove, host.privileged), (Some(true), None, None));
    assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert!(host.log_config.unwrap().config.unwrap().contains_key("max-size"));
    let mounts = host.mounts.unwrap();
    let mounts: Vec<_> = mounts.iter().map(|m| (m.typ, m.source.as_deref(), m.target.as_deref())).collect();
    let volume = Some(MountType::VOLUME);
    assert_eq!(
        mounts,
        [
            (volume, Some("landfall-deps-0f"), Some("/landfall/deps")),
            (volume, Some("landfall-pip-cache"), Some("/landfall/pip-cache")),
        ]
    );
}

#[test]
fn the_environment_tells_what_is_tested_and_the_settings_have_the_last_word() {
    let mut settings = TestSettings::default();
    settings.env.insert("PYTHONPATH".into(), "lib".into());
    let env = body(&order(), &settings, None, Path::new("/nowhere"), None).env.unwrap();
    let sha = "c".repeat(40);
    for expected in
        ["CI=true", "CI_COMMIT_BRANCH=main", &format!("CI_COMMIT_SHA={sha}"), &format!("GIT_REV={sha}")]
    {
        assert!(env.iter().any(|entry| entry == expected), "{expected} is not in {env:?}");
    }
    assert!(env.contains(&"PYTHONPATH=lib".to_owned()) && env.contains(&"PYTHONUNBUFFERED=1".to_owned()));
}

#[test]
fn without_dependencies_nothing_is_installed_or_mounted() {
    let settings = TestSettings::default();
    let body = body(&order(), &settings, None, Path::new("/nowhere"), None);
    assert_eq!(body.host_config.unwrap().mounts, None);
    let script = script::run(None, "out/report $x.xml");
    assert!(script.contains("\nrm -f -- 'out/report $x.xml'\n"), "{script}");
    assert!(script.contains("base64 -w 0 <'out/report $x.xml'\n"), "{script}");
    assert!(!script.contains("install"), "{script}");
    assert_eq!(
        script::run(None, ""),
        "set -eu\nDEPS=/landfall/deps\ncode=0\nsh -e /landfall/command.sh || code=$?\n\
         printf '\\n\\002landfall\\002\\n'\nexit $code\n"
    );
}

#[test]
fn a_name_of_a_file_can_not_end_the_quotes_of_the_script() {
    let odd = Dependencies { named_by: "requirements\"; $(id).txt".into(), ..needed() };
    assert!(script::run(Some(&odd), "").contains("installing dependencies from requirements id.txt\"\n"));
}
