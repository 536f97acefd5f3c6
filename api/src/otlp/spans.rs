//! The events of a run as the spans of a trace, in the JSON of OTLP. Pure: the same events are the same trace.

use std::collections::BTreeMap;

use landfall_engine::audit::cause_in_words;
use landfall_engine::core::event::{Envelope, Event, Origin};
use landfall_engine::core::run::RunId;
use serde_json::{Value, json};
use uuid::Uuid;

/// Something inside us, as OTLP counts the kinds.
const KIND_INTERNAL: u8 = 1;
/// A request to somebody else.
const KIND_CLIENT: u8 = 3;

const STATUS_OK: u8 = 1;
const STATUS_ERROR: u8 = 2;

/// A span that has begun.
struct Begun {
    id: String,
    name: String,
    kind: u8,
    start_ms: u64,
    attributes: Vec<Value>,
    notes: Vec<Value>,
}

/// How a span ended.
enum Ending {
    Well,
    /// The answer was no, or there was none.
    Badly(String),
    /// Somebody stopped it.
    Stopped,
}

/// Returns the body of a request that exports a run. None: these are not the events of a run.
pub(super) fn request(events: &[Envelope], resource: &[(String, String)]) -> Option<Value> {
    let spans = spans(events)?;
    let resource: Vec<_> = resource.iter().map(|(name, value)| attribute(name, value.as_str())).collect();
    let scope = json!({ "name": "landfall", "version": env!("CARGO_PKG_VERSION") });
    let scoped = json!([{ "scope": scope, "spans": spans }]);
    Some(json!({ "resourceSpans": [{ "resource": { "attributes": resource }, "scopeSpans": scoped }] }))
}

fn spans(events: &[Envelope]) -> Option<Vec<Value>> {
    let (first, last) = (events.first()?, events.last()?);
    let Event::RunStarted { lane, origin, trigger } = &first.event else { return None };
    let mut root = Begun {
        id: span_id(first.event_id),
        name: format!("run {lane}"),
        kind: KIND_INTERNAL,
        start_ms: first.recorded_at_ms,
        attributes: vec![
            attribute("landfall.run.id", first.run_id.to_string()),
            attribute("landfall.app", lane.app.as_str()),
            attribute("deployment.environment.name", lane.env.as_str()),
            attribute("landfall.trigger", trigger.as_str()),
            attribute("landfall.actor", first.actor.as_str()),
        ],
        notes: Vec::new(),
    };
    let commit = match origin {
        Origin::Push { commit, .. } => commit,
        Origin::Release { release, .. } | Origin::Promotion { release, .. } => &release.commit,
        Origin::Rerun(rerun) => &rerun.commit,
    };
    root.attributes.push(attribute("vcs.ref.head.revision", commit.sha.as_str()));
    root.attributes.extend(commit.branch.as_deref().map(|branch| attribute("vcs.ref.head.name", branch)));

    let mut open: BTreeMap<String, Begun> = BTreeMap::new();
    let mut done = Vec::new();
    let mut ending = Ending::Stopped;
    for envelope in events {
        if let Event::RollbackStarted { cause, .. } = &envelope.event {
            ending = Ending::Badly(cause_in_words(cause));
        }
        match place_of(&envelope.event) {
            Place::Begins(key, kind) => {
                open.insert(key.clone(), begun(envelope, key, kind));
            }
            Place::Ends(key, how) => {
                let span = open.remove(&key);
                done.extend(span.map(|span| span.end(first.run_id, &root.id, envelope.recorded_at_ms, &how)));
            }
            Place::Within(key) => {
                let span = open.get_mut(&key).unwrap_or(&mut root);
                span.notes.push(note(envelope));
            }
            Place::OfRun => root.notes.push(note(envelope)),
            Place::EndsRun(how) => {
                root.notes.push(note(envelope));
                ending = how;
            }
            Place::Nowhere => {}
        }
    }
    // A history that was cut short by an abort leaves attempts without an end.
    let left = open
        .into_values()
        .map(|span| span.end(first.run_id, &root.id, last.recorded_at_ms, &Ending::Stopped));
    done.extend(left);
    done.insert(0, root.end(first.run_id, "", last.recorded_at_ms, &ending));
    Some(done)
}

/// What an event is to the spans.
enum Place {
    Begins(String, u8),
    Ends(String, Ending),
    /// Something that happened during a span.
    Within(String),
    OfRun,
    EndsRun(Ending),
    Nowhere,
}

fn place_of(event: &Event) -> Place {
    use Event as E;
    let stage = |stage: &landfall_engine::core::stage::Stage, attempt: &u32| format!("{stage} {attempt}");
    let rollback = |attempt: &u32| format!("rollback {attempt}");
    match event {
        E::StageStarted { stage: of, attempt, .. } => Place::Begins(stage(of, attempt), KIND_INTERNAL),
        E::StageRecovered { stage: of, attempt, .. } | E::UndoRecovered { stage: of, attempt } => {
            Place::Within(stage(of, attempt))
        }
        E::StageSucceeded { stage: of, attempt, .. } => Place::Ends(stage(of, attempt), Ending::Well),
        E::StageFailed { stage: of, attempt, failure, .. } => {
            Place::Ends(stage(of, attempt), Ending::Badly(failure.reason.clone()))
        }
        E::StageErrored { stage: of, attempt, reason, .. } => {
            Place::Ends(stage(of, attempt), Ending::Badly(reason.clone()))
        }
        E::StageUndone { stage: of, attempt } => Place::Ends(stage(of, attempt), Ending::Stopped),
        E::RollbackStarted { attempt, .. } => Place::Begins(rollback(attempt), KIND_INTERNAL),
        E::RollbackRecovered { attempt } => Place::Within(rollback(attempt)),
        E::RollbackErrored { attempt, reason, .. } => {
            Place::Ends(rollback(attempt), Ending::Badly(reason.clone()))
        }
        // Both an attempt's end and the run's; the run's own follows from its cause.
        E::RollbackSucceeded { attempt, .. } => Place::Ends(rollback(attempt), Ending::Well),
        E::NoticeStarted { notice, .. } => Place::Begins(notice_key(notice), KIND_CLIENT),
        E::NoticeRecovered { notice, .. } => Place::Within(notice_key(notice)),
        E::NoticeSent { notice, .. } => Place::Ends(notice_key(notice), Ending::Well),
        E::NoticeErrored { notice, reason, .. } => {
            Place::Ends(notice_key(notice), Ending::Badly(reason.clone()))
        }
        E::RunLive { .. } => Place::EndsRun(Ending::Well),
        E::RunFailed { cause } => Place::EndsRun(Ending::Badly(cause_in_words(cause))),
        E::StageSkipped { .. }
        | E::DeploymentStarted { .. }
        | E::CancelRequested { .. }
        | E::RunParked { .. }
        | E::RunUnparked { .. } => Place::OfRun,
        _ => Place::Nowhere,
    }
}

fn notice_key(notice: &landfall_engine::core::notice::NoticeId) -> String {
    // The channel names a secret at most, never its value.
    format!("notice {notice}")
}

fn begun(envelope: &Envelope, key: String, kind: u8) -> Begun {
    let attempt = match &envelope.event {
        Event::StageStarted { attempt, .. }
        | Event::RollbackStarted { attempt, .. }
        | Event::NoticeStarted { attempt, .. } => *attempt,
        _ => 1,
    };
    let mut attributes = vec![attribute("landfall.attempt", u64::from(attempt))];
    let effect = envelope.effect_key.as_deref().map(|key| attribute("landfall.effect_key", key));
    attributes.extend(effect);
    let name = match &envelope.event {
        Event::StageStarted { stage, .. } => stage.name().to_owned(),
        Event::RollbackStarted { .. } => "rollback".into(),
        _ => key,
    };
    let (id, start_ms) = (span_id(envelope.event_id), envelope.recorded_at_ms);
    Begun { id, name, kind, start_ms, attributes, notes: Vec::new() }
}

impl Begun {
    fn end(self, run: RunId, parent: &str, end_ms: u64, ending: &Ending) -> Value {
        let status = match ending {
            Ending::Well => json!({ "code": STATUS_OK }),
            Ending::Badly(reason) => json!({ "code": STATUS_ERROR, "message": reason }),
            Ending::Stopped => json!({}),
        };
        json!({
            "traceId": run.0.simple().to_string(),
            "spanId": self.id,
            "parentSpanId": parent,
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": nanos(self.start_ms),
            // A wall clock can be set back.
            "endTimeUnixNano": nanos(end_ms.max(self.start_ms)),
            "attributes": self.attributes,
            "events": self.notes,
            "status": status,
        })
    }
}

fn note(envelope: &Envelope) -> Value {
    let attributes = vec![attribute("landfall.actor", envelope.actor.as_str())];
    json!({ "timeUnixNano": nanos(envelope.recorded_at_ms), "name": envelope.event.name(), "attributes": attributes })
}

fn attribute(name: &str, value: impl Into<Value>) -> Value {
    let value = match value.into() {
        // 64-bit numbers are texts in the JSON of protocol buffers.
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        text => json!({ "stringValue": text }),
    };
    json!({ "key": name, "value": value })
}

/// Returns the random half of an event's id, which is never zero.
fn span_id(event: Uuid) -> String {
    event.simple().to_string().split_off(16)
}

fn nanos(ms: u64) -> String {
    (u128::from(ms) * 1_000_000).to_string()
}
