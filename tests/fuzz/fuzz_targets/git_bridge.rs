//! What a git client asks, what git answers, and what a hook says: taken, or refused. Never a panic, and never a path
//! outside the folder of repositories.
#![no_main]

use landfall::git_remote::nonsense::{try_hook, try_request, try_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [which, bytes @ ..] = data else { return };
    match which % 3 {
        0 => {
            if let Some(path) = try_request(bytes) {
                assert!(path.starts_with('/') && !path.contains("..") && !path.contains('\0'), "{path:?}");
            }
        }
        1 => try_response(bytes),
        _ => try_hook(bytes),
    }
});
