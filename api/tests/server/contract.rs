//! The description of the API: what is served is what is checked in.

use std::path::Path;

use landfall::server::openapi_json;
use serde_json::Value;

use crate::fixture::{TestServer, answered};

/// The description as people read it, and as a change of it is reviewed.
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[test]
fn the_description_is_the_one_that_is_checked_in() {
    let drawn = openapi_json();
    let known = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
    if drawn != known {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
        std::fs::write(&new, drawn).unwrap();
        panic!("the API is described anew; if that is meant: cp {} {CHECKED_IN}", new.display());
    }
}

#[tokio::test]
async fn the_description_is_served_to_anybody_and_once() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let url = format!("{}/v1/openapi.json", server.url);
    let answer = reqwest::get(&url).await.unwrap();
    let tag = answer.headers()["etag"].clone();
    let (status, document) = answered(answer).await;
    assert_eq!((status, &document["openapi"]), (200, &Value::from("3.1.0")));
    assert_eq!(document, serde_json::from_str::<Value>(&openapi_json()).unwrap());

    let again = reqwest::Client::new().get(&url).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(answered(again).await, (304, Value::Null));
    server.stop().await;
}
