//! What forges are asked, as text, and what becomes of their answers, with servers that play them.

use landfall_engine::core::run::RunId;
use serde_json::json;
use uuid::Uuid;

use super::endpoint::Request;
use super::*;
use crate::testing::Reply;
use crate::testing::World;
use crate::testing::tcp;

const SHA: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const TOKEN: &str = "glpat-hunter2hunter2";

const KINDS: [ForgeKind; 5] =
    [ForgeKind::GitHub, ForgeKind::GitLab, ForgeKind::Gitea, ForgeKind::Forgejo, ForgeKind::Bitbucket];
const STATES: [CommitState; 5] = [
    CommitState::Pending,
    CommitState::Running,
    CommitState::Success,
    CommitState::Failure,
    CommitState::Cancelled,
];

fn forge(kind: ForgeKind, api: &str) -> Forge {
    Forge { kind, api: api.into(), project: "acme/shop".into(), token: "FORGE_TOKEN".into() }
}

fn a_status(state: CommitState) -> Status {
    Status {
        sha: SHA.into(),
        branch: Some("main".into()),
        context: "landfall/production".into(),
        state,
        description: "being checked out and tested".into(),
        url: Some("https://landfall.example.com/runs/1".into()),
    }
}

fn a_deployment(state: CommitState) -> Deployment {
    Deployment {
        run: RunId(Uuid::from_u128(7)),
        sha: SHA.into(),
        branch: Some("main".into()),
        env: "production".into(),
        state,
        description: "it serves".into(),
        url: None,
    }
}

/// Returns forges with a token, that wait for no answer for long.
async fn forges() -> (Forges, World) {
    let world = World::with(&[("FORGE_TOKEN", TOKEN)]).await;
    let forges = Forges::new(world.context.http.clone(), Arc::clone(&world.context.secrets));
    (forges.within(Duration::from_millis(200)), world)
}

#[test]
fn what_every_forge_is_asked_is_pinned() {
    let mut shown = String::new();
    let mut show = |what: &str, request: Request| {
        let body = request.body.map_or(String::new(), |body| format!("{body:#}\n"));
        shown.push_str(&format!("=== {what}\n{} {}\n{body}\n", request.method, request.url));
    };
    for kind in KINDS {
        let mut forge = forge(kind, "https://forge.example.com/api/v1/");
        if kind == ForgeKind::GitLab {
            forge.project = "acme/web/shop".into();
        }
        let at = Endpoint::of(&forge).unwrap();
        for state in STATES {
            let status = a_status(state);
            let request = match kind {
                ForgeKind::GitHub => github::status(&at, &status),
                ForgeKind::GitLab => gitlab::status(&at, &status),
                ForgeKind::Gitea | ForgeKind::Forgejo => gitea::status(&at, &status),
                ForgeKind::Bitbucket => bitbucket::status(&at, &status).unwrap(),
            };
            show(&format!("{kind:?}: a commit is {state:?}"), request);
        }
        let deployment = a_deployment(CommitState::Success);
        match kind {
            ForgeKind::GitHub => {
                show("GitHub: is there a deployment?", github::look(&at, &deployment));
                show("GitHub: a deployment is made", github::creation(&at, &deployment));
                show("GitHub: a deployment succeeded", github::deployment_status(&at, &deployment, 42));
            }
            ForgeKind::GitLab => {
                show("GitLab: is there a deployment?", gitlab::look(&at, &deployment));
                show("GitLab: a deployment is made", gitlab::creation(&at, &deployment));
            }
            ForgeKind::Gitea | ForgeKind::Forgejo | ForgeKind::Bitbucket => {}
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/forge/requests.txt");
        std::fs::write(path, &shown).unwrap();
    } else {
        assert_eq!(shown, include_str!("requests.txt"), "UPDATE_EXPECT=1 writes it anew");
    }
}

#[tokio::test]
async fn each_forge_gets_its_token_the_way_it_wants_it() {
    let expected = [
        ("authorization", format!("Bearer {TOKEN}")),
        ("private-token", TOKEN.into()),
        ("authorization", format!("token {TOKEN}")),
        ("authorization", format!("token {TOKEN}")),
        ("authorization", format!("Bearer {TOKEN}")),
    ];
    for (kind, (name, value)) in KINDS.into_iter().zip(expected) {
        let (address, heard) = tcp(|_| Reply::json(201, &json!({ "id": 1 }))).await;
        let (forges, _world) = forges().await;
        let forge = forge(kind, &format!("http://{address}"));
        forges.status("shop", &forge, &a_status(CommitState::Pending)).await.unwrap();
        let heard = heard.lock().unwrap();
        assert_eq!(heard[0].header(name), Some(value.as_str()), "{kind:?}");
        assert!(heard[0].header("user-agent").is_some_and(|agent| agent.starts_with("landfall/")));
    }
}

/// Tells a forge that answers like this how a commit stands.
async fn told(kind: ForgeKind, state: CommitState, reply: Reply) -> Result<(), Unreported> {
    let (address, _) = tcp(move |_| reply.clone()).await;
    let (forges, _world) = forges().await;
    forges.status("shop", &forge(kind, &format!("http://{address}")), &a_status(state)).await
}

#[tokio::test]
async fn an_answer_is_told_from_the_lack_of_one() {
    for status in [400, 401, 403, 404, 422, 301] {
        let answer = told(ForgeKind::GitHub, CommitState::Pending, Reply::new(status, "")).await;
        assert!(matches!(answer, Err(Unreported::Refused { .. })), "{status}: {answer:?}");
    }
    for status in [408, 409, 429, 500, 502, 503] {
        let answer = told(ForgeKind::GitHub, CommitState::Pending, Reply::new(status, "")).await;
        assert!(matches!(answer, Err(Unreported::Unanswered { .. })), "{status}: {answer:?}");
    }
    for reply in [Reply::Silence, Reply::HangUp] {
        let answer = told(ForgeKind::GitHub, CommitState::Pending, reply).await;
        assert!(matches!(answer, Err(Unreported::Unanswered { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_forge_that_is_asked_too_often_says_for_how_long_to_wait() {
    let spent = Reply::new(403, "").with("x-ratelimit-remaining", "0");
    let later = Reply::new(403, "").with("retry-after", "60");
    for (reply, expected) in [(spent, None), (later, Some(Duration::from_secs(60)))] {
        match told(ForgeKind::GitHub, CommitState::Pending, reply).await {
            Err(Unreported::Unanswered { retry_after, .. }) => assert_eq!(retry_after, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn gitlabs_refusal_of_a_repeated_state_counts_as_done() {
    let check = async |state, message: &str, is_done| {
        let reply = Reply::json(400, &json!({ "message": message }));
        let answer = told(ForgeKind::GitLab, state, reply).await;
        assert_eq!(answer.is_ok(), is_done, "{message}: {answer:?}");
    };
    let twice =
        "Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")";
    check(CommitState::Running, twice, true).await;
    check(CommitState::Pending, twice, false).await;
    check(CommitState::Pending, "Cannot transition status via :enqueue from :pending (Reason(s): x)", true)
        .await;
    check(CommitState::Failure, "Cannot transition status via :drop from :failed", true).await;
    check(CommitState::Running, "Cannot transition status via :run from :success (Reason(s): x)", false)
        .await;
    check(CommitState::Running, "state does not have a valid value", false).await;
}

#[tokio::test]
async fn no_error_has_the_token_even_when_the_forge_quotes_it() {
    let reply = Reply::new(401, format!("bad token {TOKEN}"));
    let answer = told(ForgeKind::Gitea, CommitState::Success, reply).await.unwrap_err();
    let text = format!("{answer} {answer:?}");
    assert!(text.contains("401 Unauthorized") && text.contains("bad token ***"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn what_is_missing_here_is_an_answer_that_says_what_to_do() {
    let (forges, _world) = forges().await;
    let good = forge(ForgeKind::GitHub, "https://api.github.com");
    let cases = [
        (Forge { token: "NOT_SET".into(), ..good.clone() }, "the secret NOT_SET is not set"),
        (Forge { project: "shop".into(), ..good.clone() }, "expected owner/name"),
        (Forge { project: "acme/../shop".into(), ..good.clone() }, "expected owner/name"),
        (Forge { project: "acme/web/shop".into(), ..good.clone() }, "expected owner/name"),
        (Forge { api: "api.github.com".into(), ..good.clone() }, "expected its root"),
        (Forge { api: "file:///etc".into(), ..good.clone() }, "expected its root"),
        (Forge { kind: ForgeKind::Bitbucket, ..good }, "--public-url"),
    ];
    for (forge, expected) in cases {
        let status = Status { url: None, ..a_status(CommitState::Success) };
        match forges.status("shop", &forge, &status).await {
            Err(Unreported::Refused { reason }) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn github_is_asked_for_a_deployment_before_one_is_made() {
    let run = a_deployment(CommitState::Running).run.to_string();
    let others = json!({ "id": 3, "payload": { "landfall_run": "another" } });
    let in_text = json!({ "id": 5, "payload": json!({ "landfall_run": run }).to_string() });
    let ours = json!({ "id": 4, "payload": { "landfall_run": run } });
    let cases = [
        (json!([]), 9, ["GET", "POST", "POST"].as_slice()),
        (json!([others]), 9, &["GET", "POST", "POST"]),
        (json!([others, ours]), 4, &["GET", "POST"]),
        (json!([in_text]), 5, &["GET", "POST"]),
    ];
    for (list, expected, methods) in cases {
        let (address, heard) = tcp(move |request| match request.method.as_str() {
            "GET" => Reply::json(200, &list),
            _ => Reply::json(201, &json!({ "id": 9 })),
        })
        .await;
        let (forges, _world) = forges().await;
        let forge = forge(ForgeKind::GitHub, &format!("http://{address}"));
        let id = forges.deployment("shop", &forge, &a_deployment(CommitState::Running), None).await;
        assert_eq!(id, Ok(Some(expected)));
        let heard = heard.lock().unwrap();
        assert_eq!(heard.iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), methods);
        assert_eq!(heard.last().unwrap().path(), format!("/repos/acme/shop/deployments/{expected}/statuses"));
    }
}

#[tokio::test]
async fn gitlab_goes_on_with_a_deployment_that_has_not_ended() {
    let cases = [
        (json!([{ "id": 3, "sha": SHA, "status": "running" }]), 3, "PUT"),
        (json!([{ "id": 3, "sha": SHA, "status": "success" }]), 9, "POST"),
        (json!([{ "id": 3, "sha": "another", "status": "running" }]), 9, "POST"),
    ];
    for (list, expected, method) in cases {
        let (address, heard) = tcp(move |request| match request.method.as_str() {
            "GET" => Reply::json(200, &list),
            _ => Reply::json(200, &json!({ "id": 9 })),
        })
        .await;
        let (forges, _world) = forges().await;
        let forge = forge(ForgeKind::GitLab, &format!("http://{address}"));
        let id = forges.deployment("shop", &forge, &a_deployment(CommitState::Success), None).await;
        assert_eq!(id, Ok(Some(expected)));
        assert_eq!(heard.lock().unwrap().last().unwrap().method, method);
    }
}

#[tokio::test]
async fn a_deployment_that_gitlab_has_in_that_state_already_is_told() {
    for (stands, is_done) in [("success", true), ("failed", false)] {
        let (address, _) = tcp(move |request| match request.method.as_str() {
            "GET" => Reply::json(200, &json!({ "id": 3, "status": stands })),
            _ => Reply::json(400, &json!({ "message": {} })),
        })
        .await;
        let (forges, _world) = forges().await;
        let forge = forge(ForgeKind::GitLab, &format!("http://{address}"));
        let answer = forges.deployment("shop", &forge, &a_deployment(CommitState::Success), Some(3)).await;
        assert_eq!(answer.is_ok(), is_done, "{answer:?}");
    }
}

#[tokio::test]
async fn a_forge_without_deployments_is_not_asked_for_one() {
    let (address, heard) = tcp(|_| Reply::new(500, "")).await;
    let (forges, _world) = forges().await;
    for kind in [ForgeKind::Gitea, ForgeKind::Forgejo, ForgeKind::Bitbucket] {
        let forge = forge(kind, &format!("http://{address}"));
        let answer = forges.deployment("shop", &forge, &a_deployment(CommitState::Success), None).await;
        assert_eq!(answer, Ok(None));
    }
    assert!(heard.lock().unwrap().is_empty());
}
