//! A delivery's body is read, or refused with what was expected. Never a panic, whoever signed it.
#![no_main]

use landfall::hooks::try_to_read;
use libfuzzer_sys::fuzz_target;

const FORGES: [(&str, &[&str]); 5] = [
    ("github", &["push", "ping", "delete", "issues"]),
    ("gitlab", &["Push Hook"]),
    ("gitea", &["push", "create", "delete"]),
    ("forgejo", &["push"]),
    ("bitbucket", &["repo:push", "diagnostics:ping"]),
];

fuzz_target!(|data: &[u8]| {
    let [which, body @ ..] = data else { return };
    let (forge, events) = FORGES[usize::from(*which) % FORGES.len()];
    let event = events[usize::from(*which) / FORGES.len() % events.len()];
    let _ = try_to_read(forge, event, body);
});
