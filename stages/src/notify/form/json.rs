//! A notice for programs: the body of a generic webhook.

use std::time::SystemTime;

use landfall_engine::core::stage::Stage;
use serde_json::Value;
use serde_json::json;

use crate::notify::message::About;
use crate::notify::message::Message;

/// Returns the body of a generic webhook.
pub(in crate::notify) fn json(message: &Message, at: SystemTime) -> Value {
    let at = humantime::format_rfc3339_millis(at).to_string();
    match &message.about {
        About::Run(run) => json!({
            "event": message.event,
            "run": run.run,
            "app": run.app,
            "env": run.env,
            "commit": run.sha,
            "branch": run.branch,
            "subject": run.subject,
            "author": run.author,
            "state": run.state,
            "cause": run.cause,
            "stage": run.stage.map(Stage::name),
            "reason": message.reason,
            "tail": message.tail,
            "failing_tests": message.tests,
            "text": message.title,
            "at": at,
        }),
        About::Server(server) => json!({
            "event": message.event,
            "server": server,
            "reason": message.reason,
            "then": message.then,
            "text": message.title,
            "at": at,
        }),
    }
}
