//! How an event is stored: one JSON text a record, and a hash that chains it to the record before.
//!
//! ```text
//! {"run_id":…,"seq":…,"global_seq":…,"event_id":…,"schema":…,"recorded_at_ms":…,"actor":…,"engine":…,
//!  "effect_key":…,"claim":…,"type":"stage_started","data":{…}}
//! hash = sha256(hash of the record before || this text)
//! ```
//!
//! The shape is for ever: it is pinned by `store/fixtures/shapes.txt`. The hash is not part of the text; it is
//! computed again on every read, so that an auditor needs nothing but `sha256sum`.

use landfall_engine::core::event::{Envelope, Event, EventHash, SCHEMA};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Append, AppendError, Draft, ReadError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::upcast;

/// The most bytes of data an event may have. A reason and a pointer are events; output is not.
pub(crate) const DATA_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of an actor, a claim or an effect key: they are names.
const NAME_BYTES_MAX: usize = 1024;

/// The most events of one append: more than any decision makes, and what fits into one frame.
const EVENTS_MAX: usize = 100;

/// Version of the engine that writes. One workspace, one version.
const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// The start of every record, by which a scan finds the records of a run without parsing all of them.
const STARTS_WITH: &str = "{\"run_id\":\"";

/// What stands before the name of a record's event.
const TYPE: &[u8] = b"\"type\":\"";

/// Returns the hash of a record.
pub(crate) fn chain(before: EventHash, record: &[u8]) -> EventHash {
    EventHash(Sha256::new().chain_update(before.0).chain_update(record).finalize().into())
}

/// An append whose events are ready to be written, but for their places.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) run_id: RunId,
    pub(crate) expected: u64,
    pub(crate) at_ms: u64,
    pub(crate) actor: String,
    pub(crate) claims: Vec<String>,
    pub(crate) events: Vec<PreparedEvent>,
}

/// An event that is ready to be written, but for its place.
#[derive(Debug)]
pub(crate) struct PreparedEvent {
    pub(crate) draft: Draft,
    /// The record behind its `global_seq`, from the comma on.
    rest: String,
}

#[derive(Serialize)]
struct Rest<'a> {
    event_id: Uuid,
    schema: u16,
    recorded_at_ms: u64,
    actor: &'a str,
    engine: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'a str>,
}

impl Prepared {
    /// Checks what can be checked without the log, and encodes what can be encoded: the caller's thread has
    /// the time that the writer's has not.
    pub(crate) fn new(append: Append) -> Result<Self, AppendError> {
        let Append { run_id, expected, events, at_ms, actor, claims } = append;
        if events.is_empty() || events.len() > EVENTS_MAX {
            return Err(refused(format!("{} events in one append; 1 to {EVENTS_MAX} go", events.len())));
        }
        short_enough("actor", &actor)?;
        claims.iter().try_for_each(|claim| short_enough("claim", claim))?;
        if claims.len() > events.len() {
            return Err(refused(format!(
                "{} claims in an append of {} events; each stands with one",
                claims.len(),
                events.len()
            )));
        }
        let prepared = events
            .into_iter()
            .enumerate()
            .map(|(i, draft)| PreparedEvent::new(draft, at_ms, &actor, claims.get(i).map(String::as_str)));
        let events = prepared.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { run_id, expected, at_ms, actor, claims, events })
    }

    /// Returns roughly how many bytes the records will take.
    pub(crate) fn len(&self) -> usize {
        self.events.iter().map(|event| event.rest.len() + 128).sum()
    }
}

impl PreparedEvent {
    fn new(draft: Draft, at_ms: u64, actor: &str, claim: Option<&str>) -> Result<Self, AppendError> {
        let effect_key = draft.effect_key.as_deref();
        short_enough("effect key", effect_key.unwrap_or_default())?;
        let rest = Rest {
            event_id: draft.event_id,
            schema: SCHEMA,
            recorded_at_ms: at_ms,
            actor,
            engine: ENGINE,
            effect_key,
            claim,
        };
        let not_json = |error| refused(format!("{} is not JSON: {error}", draft.event.name()));
        let event = serde_json::to_string(&draft.event).map_err(not_json)?;
        if event.len() > DATA_BYTES_MAX {
            let (name, len) = (draft.event.name(), event.len());
            return Err(refused(format!("{name} has {len} bytes of data; {DATA_BYTES_MAX} go")));
        }
        let mut rest = serde_json::to_string(&rest).map_err(not_json)?;
        // Both are JSON objects: `{"event_id":…}` and `{"type":…,"data":…}` become `,"event_id":…,"type":…}`.
        rest.replace_range(..1, ",");
        rest.pop();
        rest.push(',');
        rest.push_str(&event[1..]);
        Ok(Self { draft, rest })
    }

    /// Appends the record's text to a buffer.
    pub(crate) fn write(&self, run_id: RunId, seq: u64, global_seq: u64, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(STARTS_WITH.as_bytes());
        let middle = format!("{run_id}\",\"seq\":{seq},\"global_seq\":{global_seq}");
        buffer.extend_from_slice(middle.as_bytes());
        buffer.extend_from_slice(self.rest.as_bytes());
    }

    /// Returns the envelope that a reader of the record will see.
    pub(crate) fn envelope(&self, append: &Prepared, seq: u64, global_seq: u64, hash: EventHash) -> Envelope {
        Envelope {
            run_id: append.run_id,
            seq,
            global_seq,
            event_id: self.draft.event_id,
            schema: SCHEMA,
            recorded_at_ms: append.at_ms,
            actor: append.actor.clone(),
            engine: ENGINE.to_owned(),
            effect_key: self.draft.effect_key.clone(),
            event: self.draft.event.clone(),
            hash,
        }
    }
}

/// A record as it is read. What happened may be something that this version does not know.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) run_id: RunId,
    pub(crate) seq: u64,
    pub(crate) global_seq: u64,
    pub(crate) event_id: Uuid,
    schema: u16,
    pub(crate) recorded_at_ms: u64,
    pub(crate) actor: String,
    engine: String,
    #[serde(default)]
    effect_key: Option<String>,
    #[serde(default)]
    pub(crate) claim: Option<String>,
    #[serde(rename = "type")]
    name: String,
    #[serde(default)]
    data: Value,
}

impl Record {
    /// Reads the text of a record.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Returns what happened, in today's shape; what is in the way otherwise.
    pub(crate) fn event(&mut self) -> Result<Event, String> {
        let stored = self.name.clone();
        let (name, data) = upcast::lift(self.schema, stored.clone(), self.data.take())?;
        let event = match data {
            Value::Null => serde_json::json!({ "type": name }),
            data => serde_json::json!({ "type": name, "data": data }),
        };
        serde_json::from_value(event).map_err(|error| {
            format!(
                "{stored} (schema {}, written by version {}) can't be understood by this version: {error}",
                self.schema, self.engine
            )
        })
    }

    /// Returns the envelope around an event that [`event`](Self::event) returned.
    pub(crate) fn envelope(self, event: Event, hash: EventHash) -> Envelope {
        Envelope {
            run_id: self.run_id,
            seq: self.seq,
            global_seq: self.global_seq,
            event_id: self.event_id,
            schema: self.schema,
            recorded_at_ms: self.recorded_at_ms,
            actor: self.actor,
            engine: self.engine,
            effect_key: self.effect_key,
            event,
            hash,
        }
    }

    /// Returns the envelope, or why this run can't be read.
    pub(crate) fn read(mut self, hash: EventHash) -> Result<Envelope, ReadError> {
        match self.event() {
            Ok(event) => Ok(self.envelope(event, hash)),
            Err(reason) => Err(ReadError::Unreadable { run_id: self.run_id, seq: self.seq, reason }),
        }
    }
}

/// Tells whether this is a record of the run, without parsing it.
pub(crate) fn is_of(run_id: RunId, text: &[u8]) -> bool {
    skim_run_id(text) == Some(run_id)
}

/// Returns every run that has a record in these bytes, which may be damaged: one wrong byte before an id, such as a
/// flipped bit, does not hide it.
pub(crate) fn skim_run_ids(bytes: &[u8]) -> Vec<RunId> {
    let is_start = |window: &[u8]| {
        window.iter().zip(STARTS_WITH.as_bytes()).filter(|(found, expected)| found != expected).count() <= 1
    };
    let starts = bytes.windows(STARTS_WITH.len()).enumerate().filter(|(_, window)| is_start(window));
    let ids = starts.filter_map(|(at, _)| run_id_at(&bytes[at + STARTS_WITH.len()..]));
    let mut runs: Vec<RunId> = ids.collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// Returns the run of a record and its place in it, without parsing it.
pub(crate) fn skim_place(text: &[u8]) -> Option<(RunId, u64)> {
    let run = skim_run_id(text)?;
    let behind = text.get(STARTS_WITH.len() + 36..)?.strip_prefix(b"\",\"seq\":")?;
    let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some((run, std::str::from_utf8(&behind[..digits]).ok()?.parse().ok()?))
}

/// Returns the stored name of a record's event, without parsing it.
pub(crate) fn skim_name(text: &[u8]) -> Option<&[u8]> {
    // Quotes inside a text are escaped, so the first of these is the record's own.
    let start = text.windows(TYPE.len()).position(|window| window == TYPE)? + TYPE.len();
    text[start..].split(|byte| *byte == b'"').next()
}

fn skim_run_id(text: &[u8]) -> Option<RunId> {
    run_id_at(text.strip_prefix(STARTS_WITH.as_bytes())?)
}

fn run_id_at(text: &[u8]) -> Option<RunId> {
    Uuid::try_parse_ascii(text.get(..36)?).ok().map(RunId)
}

fn short_enough(what: &str, text: &str) -> Result<(), AppendError> {
    if text.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(refused(format!("the {what} has {} bytes; {NAME_BYTES_MAX} go", text.len())))
}

pub(crate) const fn refused(reason: String) -> AppendError {
    AppendError::Refused { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_before_a_run_s_id_does_not_hide_it() {
        let run = RunId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));
        let record = format!("{STARTS_WITH}{run}\",\"seq\":1}}");
        for bit in 0..STARTS_WITH.len() * 8 {
            let mut bytes = record.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(skim_run_ids(&bytes), [run], "bit {bit}");
        }
        assert_eq!(skim_run_ids(record.replace("run_id", "nobody").as_bytes()), []);
    }
}
