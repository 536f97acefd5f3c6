//! The readers of the git bridge, for whoever feeds them with nonsense: `tests/fuzz`.

use axum::http::{Method, Uri};

use super::cgi::read_head;
use super::gate::asked;
use super::protocol::{Report, Told, Update};

/// Reads a request's first line and returns the path that git would be given, if it would.
pub fn try_request(bytes: &[u8]) -> Option<String> {
    let (method, uri) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    let (method, uri) = (method.parse::<Method>().ok()?, uri.parse::<Uri>().ok()?);
    asked(&method, &uri).ok().map(|asked| asked.path_info)
}

/// Reads the head of what git answers.
pub fn try_response(bytes: &[u8]) {
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
        let mut bytes = bytes;
        let _ = runtime.block_on(read_head(&mut bytes));
    }
}

/// Reads what a hook says to the server, what the server says to a hook, and what git says to it.
pub fn try_hook(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = serde_json::from_str::<Report>(text);
    let _ = Told::from_wire(text);
    let _ = Update::parse(text);
}
