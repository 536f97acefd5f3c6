//! What each forge documents that it sends, read.

use super::delivery::RefChange;
use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
}

#[track_caller]
fn read(forge: Forge, pairs: &[(&'static str, &'static str)], body: &str) -> Delivery {
    forge.read(&headers(pairs), body.as_bytes()).unwrap()
}

/// Writes a delivery down in a few lines.
fn told(delivery: &Delivery) -> String {
    let who = format!(
        "{} by {}\n",
        delivery.id.as_deref().unwrap_or("no id"),
        delivery.sender.as_deref().unwrap_or("nobody")
    );
    who + &match &delivery.event {
        Event::Ping => "ping\n".to_owned(),
        Event::Ignored { why } => format!("ignored: {why}\n"),
        Event::Push(changes) => changes.iter().map(told_change).collect(),
    }
}

fn told_change(change: &RefChange) -> String {
    let before = change.before.as_ref().map_or("new", |before| before.short());
    let Some(head) = &change.after else { return format!("{} {before} > deleted\n", change.reference) };
    let text = |text: &Option<String>| text.as_ref().map_or("?".to_owned(), |text| format!("{text:?}"));
    format!(
        "{} {before} > {}: {} by {} {} paths {}\n",
        change.reference,
        head.sha.short(),
        text(&head.message),
        text(&head.author),
        text(&head.email),
        head.paths.as_ref().map_or("?".to_owned(), |paths| paths.join(" ")),
    )
}

#[track_caller]
fn check(forge: Forge, pairs: &[(&'static str, &'static str)], body: &str, expected: &str) {
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim_start())).collect();
    assert_eq!(told(&read(forge, pairs, body)), expected);
}

#[test]
fn github_sends_pushes_tags_deletions_and_pings() {
    const ID: (&str, &str) = ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958");
    let push = [ID, ("x-github-event", "push")];
    check(
        Forge::GitHub,
        &push,
        include_str!("fixtures/github_push.json"),
        "72d3162e-cc78-11e3-81ab-4c9367dc0958 by Codertocat
         refs/heads/main 6113728f27ae > d6fde92930d4: \"Mend the cart\\n\\nIt lost what was in it.\" by \"Ada Lovelace\" \"ada@example.com\" paths README.md app/cart.py docs/start.md old.py",
    );
    // A tag with a message is an object; its commit is what is deployed.
    check(
        Forge::GitHub,
        &push,
        include_str!("fixtures/github_tag.json"),
        "72d3162e-cc78-11e3-81ab-4c9367dc0958 by Codertocat
         refs/tags/v1.2 new > d6fde92930d4: \"Mend the cart\\n\\nIt lost what was in it.\" by \"Ada Lovelace\" \"ada@example.com\" paths ?",
    );
    check(
        Forge::GitHub,
        &push,
        include_str!("fixtures/github_deletion.json"),
        "72d3162e-cc78-11e3-81ab-4c9367dc0958 by Codertocat
         refs/heads/try d6fde92930d4 > deleted",
    );
    check(
        Forge::GitHub,
        &[ID, ("x-github-event", "ping")],
        include_str!("fixtures/github_ping.json"),
        "72d3162e-cc78-11e3-81ab-4c9367dc0958 by nobody\nping",
    );
    check(
        Forge::GitHub,
        &[("x-github-event", "star")],
        include_str!("fixtures/github_other.json"),
        "no id by nobody\nignored: the event \"star\" starts no run; `push` does",
    );
}

#[test]
fn what_a_forced_push_of_githubs_changed_is_not_known() {
    let body = include_str!("fixtures/github_push.json").replace("\"forced\": false", "\"forced\": true");
    let delivery = read(Forge::GitHub, &[("x-github-event", "push")], &body);
    assert!(told(&delivery).ends_with("paths ?\n"), "{}", told(&delivery));
}

#[test]
fn gitea_and_forgejo_send_pushes_tags_deletions_and_tests() {
    const ID: (&str, &str) = ("x-gitea-delivery", "f6266f16-1bf3-46a5-9ea4-602e06ead473");
    let push = [ID, ("x-gitea-event", "push")];
    check(
        Forge::Gitea,
        &push,
        include_str!("fixtures/gitea_push.json"),
        "f6266f16-1bf3-46a5-9ea4-602e06ead473 by gitea
         refs/heads/develop 28e1879d029c > bffeb7422404: \"Webhooks Yay!\\n\" by \"Gitea\" \"someone@gitea.io\" paths README.md app.py",
    );
    check(
        Forge::Gitea,
        &push,
        include_str!("fixtures/gitea_tag.json"),
        "f6266f16-1bf3-46a5-9ea4-602e06ead473 by gitea
         refs/tags/v1.2 new > bffeb7422404: \"Webhooks Yay!\\n\" by \"Gitea\" \"someone@gitea.io\" paths ?",
    );
    check(
        Forge::Gitea,
        &push,
        include_str!("fixtures/gitea_deletion.json"),
        "f6266f16-1bf3-46a5-9ea4-602e06ead473 by gitea
         refs/heads/try bffeb7422404 > deleted",
    );
    check(
        Forge::Gitea,
        &push,
        include_str!("fixtures/gitea_test.json"),
        "f6266f16-1bf3-46a5-9ea4-602e06ead473 by gitea
         ignored: nothing was moved: this is a test delivery",
    );
    check(
        Forge::Gitea,
        &[ID, ("x-gitea-event", "create")],
        include_str!("fixtures/gitea_other.json"),
        "f6266f16-1bf3-46a5-9ea4-602e06ead473 by nobody
         ignored: the event \"create\" starts no run; `push` does",
    );
    // One of 45 commits was delivered.
    check(
        Forge::Forgejo,
        &[("x-forgejo-delivery", "f6266f16"), ("x-forgejo-event", "push")],
        include_str!("fixtures/forgejo_push.json"),
        "f6266f16 by ada
         refs/heads/develop 28e1879d029c > bffeb7422404: \"Webhooks Yay!\\n\" by \"Gitea\" \"someone@gitea.io\" paths ?",
    );
}

#[test]
fn gitlab_sends_pushes_tags_and_deletions() {
    let event = [("x-gitlab-event", "Push Hook"), ("idempotency-key", "6b1c9b4d")];
    check(
        Forge::GitLab,
        &event,
        include_str!("fixtures/gitlab_push.json"),
        "6b1c9b4d by jsmith
         refs/heads/master 95790bf891e7 > da1560886d4f: \"fixed readme\" by \"GitLab dev user\" \"gitlabdev@dv6700.(none)\" paths CHANGELOG app/controller/application.rb",
    );
    check(
        Forge::GitLab,
        &event,
        include_str!("fixtures/gitlab_push_of_many.json"),
        "6b1c9b4d by jsmith
         refs/heads/master 95790bf891e7 > da1560886d4f: \"fixed readme\" by \"GitLab dev user\" \"gitlabdev@dv6700.(none)\" paths ?",
    );
    check(
        Forge::GitLab,
        &[("webhook-id", "msg_1"), ("idempotency-key", "other")],
        include_str!("fixtures/gitlab_tag.json"),
        "msg_1 by jsmith
         refs/tags/v1.0.0 new > da1560886d4f: ? by ? ? paths ?",
    );
    check(
        Forge::GitLab,
        &event,
        include_str!("fixtures/gitlab_deletion.json"),
        "6b1c9b4d by jsmith
         refs/heads/try da1560886d4f > deleted",
    );
    check(
        Forge::GitLab,
        &event,
        include_str!("fixtures/gitlab_other.json"),
        "6b1c9b4d by nobody
         ignored: the event \"issue\" starts no run; pushes of branches and tags do",
    );
}

#[test]
fn bitbucket_sends_several_refs_at_once() {
    const ID: (&str, &str) = ("x-request-uuid", "aacf2da4-1b7b-4b5e-8b9a-0b0b0b0b0b0b");
    let push = [ID, ("x-event-key", "repo:push")];
    check(
        Forge::Bitbucket,
        &push,
        include_str!("fixtures/bitbucket_push.json"),
        "aacf2da4-1b7b-4b5e-8b9a-0b0b0b0b0b0b by ada
         refs/heads/main 1e65c05c1d51 > 709d658dc5b6: \"Mend the cart\\n\\nIt lost what was in it.\\n\" by \"Ada Lovelace\" \"ada@example.com\" paths ?
         refs/heads/next new > 709d658dc5b6: \"Mend the cart\\n\" by \"Ada Lovelace\" \"ada@example.com\" paths ?",
    );
    check(
        Forge::Bitbucket,
        &push,
        include_str!("fixtures/bitbucket_tag.json"),
        "aacf2da4-1b7b-4b5e-8b9a-0b0b0b0b0b0b by ada
         refs/tags/v1.2 new > 709d658dc5b6: \"Mend the cart\\n\" by \"Ada Lovelace\" \"ada@example.com\" paths ?",
    );
    check(
        Forge::Bitbucket,
        &push,
        include_str!("fixtures/bitbucket_deletion.json"),
        "aacf2da4-1b7b-4b5e-8b9a-0b0b0b0b0b0b by ada
         refs/heads/try 709d658dc5b6 > deleted",
    );
    check(
        Forge::Bitbucket,
        &[ID, ("x-event-key", "repo:fork")],
        include_str!("fixtures/bitbucket_other.json"),
        "aacf2da4-1b7b-4b5e-8b9a-0b0b0b0b0b0b by nobody
         ignored: the event \"repo:fork\" starts no run; `repo:push` does",
    );
}

#[test]
fn what_no_git_would_send_is_refused_or_left_alone() {
    let push = [("x-github-event", "push")];
    let body = include_str!("fixtures/github_push.json");
    for (from, to, said) in [
        ("d6fde92930d4715a2b49857d24b940956b26d2d3", "../../etc/passwd", "expected the hash of a commit"),
        ("\"after\"", "\"afterwards\"", "missing field `after`"),
        ("\"ref\": \"refs/heads/main\"", "\"ref\": 7", "not the JSON expected here"),
    ] {
        let error = Forge::GitHub.read(&headers(&push), body.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    for reference in
        ["refs/heads/../../x", "refs/heads/--upload-pack=x", "refs/notes/commits", "refs/heads/a b"]
    {
        let delivery = read(Forge::GitHub, &push, &body.replace("refs/heads/main", reference));
        assert!(matches!(delivery.event, Event::Ignored { .. }), "{reference}");
    }
    for (forge, header) in [
        (Forge::GitHub, "X-GitHub-Event"),
        (Forge::Gitea, "X-Gitea-Event"),
        (Forge::Bitbucket, "X-Event-Key"),
        (Forge::GitLab, "object_kind"),
    ] {
        let said = forge.read(&HeaderMap::new(), b"{}").unwrap_err().to_string();
        assert!(said.contains(header), "{said}");
    }
}

#[test]
fn an_id_that_is_no_name_names_nothing() {
    for bad in ["a b", "", &"x".repeat(101)] {
        let mut headers = HeaderMap::new();
        headers.insert("x-github-delivery", bad.parse().unwrap());
        assert_eq!(delivery::id(&headers, &["x-github-delivery"]), None, "{bad:?}");
    }
}

#[test]
fn no_body_however_broken_ends_the_reader() {
    let bodies = [
        ("github", "push", include_str!("fixtures/github_push.json")),
        ("gitea", "push", include_str!("fixtures/gitea_push.json")),
        ("gitlab", "push", include_str!("fixtures/gitlab_push.json")),
        ("bitbucket", "repo:push", include_str!("fixtures/bitbucket_push.json")),
    ];
    for (forge, event, body) in bodies {
        assert!(try_to_read(forge, event, body.as_bytes()).unwrap() > 0, "{forge}");
        // Cut short anywhere, and with any byte in the place of any other: what comes of it is an answer.
        for at in (0..body.len()).step_by(7) {
            let _ = try_to_read(forge, event, &body.as_bytes()[..at]);
            let mut broken = body.as_bytes().to_vec();
            broken[at] = broken[at].wrapping_mul(31).wrapping_add(17);
            let _ = try_to_read(forge, event, &broken);
        }
    }
}
