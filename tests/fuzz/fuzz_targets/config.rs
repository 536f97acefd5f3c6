//! A configuration is understood, or refused with the line; what is understood is within what a log may hold.
#![no_main]

use landfall_stages::config::{CONFIG_FILE, PYPROJECT_FILE, read_at_commit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for file in [CONFIG_FILE, PYPROJECT_FILE] {
        let read = read_at_commit(|name| (name == file).then(|| text.as_bytes().to_vec()), "shop");
        match read {
            Ok((settings, _)) => assert_eq!(settings.clone().for_environment("staging").service, settings.service),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
