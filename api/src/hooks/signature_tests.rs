//! Signatures, against what the forges have published.

use super::*;

/// GitHub's published example.
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const GITHUB_BODY: &[u8] = b"Hello, World!";
const GITHUB_HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

/// The published example of Standard Webhooks.
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const STANDARD_TIME: u64 = 1_614_265_330;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
}

#[track_caller]
fn check(forge: Forge, pairs: &[(&'static str, &str)], secret: &str, body: &[u8], signed: bool) {
    assert_eq!(is_signed(forge, &headers(pairs), body, secret, STANDARD_TIME), signed, "{forge:?} {pairs:?}");
}

#[test]
fn githubs_published_example_is_signed_and_nothing_else_is() {
    let signature = format!("sha256={GITHUB_HEX}");
    let header = "x-hub-signature-256";
    check(Forge::GitHub, &[(header, &signature)], GITHUB_SECRET, GITHUB_BODY, true);
    check(Forge::GitHub, &[(header, &signature)], GITHUB_SECRET, b"Hello, World?", false);
    check(Forge::GitHub, &[(header, &signature)], "It's a secret to everybody", GITHUB_BODY, false);
    for wrong in [
        GITHUB_HEX.to_owned(),
        format!("sha1={GITHUB_HEX}"),
        format!("sha256={}", &GITHUB_HEX[..62]),
        format!("sha256={}0", GITHUB_HEX),
        format!("sha256={}", GITHUB_HEX.replace('7', "8")),
        "sha256=".into(),
        "sha256=zz".into(),
    ] {
        check(Forge::GitHub, &[(header, &wrong)], GITHUB_SECRET, GITHUB_BODY, false);
    }
    check(Forge::GitHub, &[], GITHUB_SECRET, GITHUB_BODY, false);
    check(Forge::GitHub, &[("x-hub-signature", &signature)], GITHUB_SECRET, GITHUB_BODY, false);
}

#[test]
fn each_forge_has_its_own_header() {
    let prefixed = format!("sha256={GITHUB_HEX}");
    for (forge, header, value) in [
        (Forge::Bitbucket, "x-hub-signature", prefixed.as_str()),
        (Forge::Gitea, "x-gitea-signature", GITHUB_HEX),
        (Forge::Forgejo, "x-forgejo-signature", GITHUB_HEX),
        (Forge::Forgejo, "x-gitea-signature", GITHUB_HEX),
        (Forge::Gitea, "x-hub-signature-256", prefixed.as_str()),
    ] {
        check(forge, &[(header, value)], GITHUB_SECRET, GITHUB_BODY, true);
        check(forge, &[(header, value)], GITHUB_SECRET, b"Hello", false);
    }
    check(Forge::Bitbucket, &[("x-hub-signature-256", &prefixed)], GITHUB_SECRET, GITHUB_BODY, false);
    check(
        Forge::Gitea,
        &[("x-gitea-signature", &GITHUB_HEX.to_uppercase())],
        GITHUB_SECRET,
        GITHUB_BODY,
        true,
    );
}

#[test]
fn gitlabs_token_is_the_secret_and_no_part_of_it() {
    let header = "x-gitlab-token";
    check(Forge::GitLab, &[(header, "hunter2")], "hunter2", b"any", true);
    for wrong in ["hunter", "hunter22", "Hunter2", ""] {
        check(Forge::GitLab, &[(header, wrong)], "hunter2", b"any", false);
    }
    check(Forge::GitLab, &[], "hunter2", b"any", false);
    check(Forge::GitLab, &[(header, "")], "", b"any", false);
    check(Forge::GitLab, &[], "", b"any", false);
}

#[test]
fn the_published_example_of_standard_webhooks_is_signed_for_five_minutes() {
    let id = ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
    let time = ("webhook-timestamp", "1614265330");
    let check_at = |seconds: u64, signature: &str, signed: bool| {
        let headers = headers(&[id, time, ("webhook-signature", signature)]);
        let is = is_signed(Forge::GitLab, &headers, STANDARD_BODY, STANDARD_SECRET, seconds);
        assert_eq!(is, signed, "{signature} at {seconds}");
    };
    check_at(STANDARD_TIME, STANDARD_SIGNATURE, true);
    check_at(STANDARD_TIME + 300, STANDARD_SIGNATURE, true);
    check_at(STANDARD_TIME + 301, STANDARD_SIGNATURE, false);
    check_at(STANDARD_TIME - 301, STANDARD_SIGNATURE, false);
    // While a secret is replaced there are two.
    let other = STANDARD_SIGNATURE.replace('g', "h");
    check_at(STANDARD_TIME, &format!("v1a,AAAA {other} {STANDARD_SIGNATURE}"), true);
    check_at(STANDARD_TIME, &other, false);
    check_at(STANDARD_TIME, &STANDARD_SIGNATURE.replace("v1,", "v2,"), false);
    let many = format!("{}{STANDARD_SIGNATURE}", "v1,AAAA ".repeat(10));
    check_at(STANDARD_TIME, &many, false);

    let signature = ("webhook-signature", STANDARD_SIGNATURE);
    for without in [&[time, signature][..], &[id, signature], &[id, time]] {
        check(Forge::GitLab, without, STANDARD_SECRET, STANDARD_BODY, false);
    }
    // The token of the older form does not stand in for a signature that is wrong.
    let both = [id, time, ("webhook-signature", "v1,AAAA"), ("x-gitlab-token", STANDARD_SECRET)];
    check(Forge::GitLab, &both, STANDARD_SECRET, STANDARD_BODY, false);
}
