//! Lifts old shapes of events to today's, on read. The stored bytes are left alone.
//!
//! An event of schema `n` goes through the steps `n`, `n + 1`, … up to [`SCHEMA`]. A step sees the type and
//! the data as they were stored, and may change both. Whoever raises [`SCHEMA`] adds a step, even if it has
//! nothing to do: the length of [`STEPS`] does not compile otherwise.

use landfall_engine::core::event::SCHEMA;
use serde_json::Value;

/// Lifts the type and data of one event by one schema.
type Step = fn(&mut String, &mut Value);

/// The step from schema `i + 1` to `i + 2`, at place `i`.
const STEPS: [Step; SCHEMA as usize - 1] = [];

/// Lifts an event of a past schema to today's.
///
/// # Errors
///
/// Says so when the schema is none that this version knows.
pub(crate) fn lift(schema: u16, name: String, data: Value) -> Result<(String, Value), String> {
    lift_by(&STEPS, schema, name, data)
}

fn lift_by(
    steps: &[Step],
    schema: u16,
    mut name: String,
    mut data: Value,
) -> Result<(String, Value), String> {
    let newest = steps.len() + 1;
    let first = usize::from(schema)
        .checked_sub(1)
        .filter(|first| *first < newest)
        .ok_or_else(|| format!("{name} has schema {schema}, and this version knows 1 to {newest}"))?;
    for step in &steps[first..] {
        step(&mut name, &mut data);
    }
    Ok((name, data))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const THREE_SCHEMAS: [Step; 2] = [
        |name, data| {
            if name == "pushed" {
                *name = "run_started".into();
                data["trigger"] = json!("git push");
            }
        },
        |_, data| data["lifted"] = json!(true),
    ];

    #[test]
    fn an_event_goes_through_every_step_from_its_schema_on() {
        let lifted = lift_by(&THREE_SCHEMAS, 1, "pushed".into(), json!({}));
        let today = json!({ "trigger": "git push", "lifted": true });
        assert_eq!(lifted, Ok(("run_started".into(), today)));
        let lifted = lift_by(&THREE_SCHEMAS, 2, "pushed".into(), json!({}));
        assert_eq!(lifted, Ok(("pushed".into(), json!({ "lifted": true }))));
        let today = lift_by(&THREE_SCHEMAS, 3, "pushed".into(), json!({}));
        assert_eq!(today, Ok(("pushed".into(), json!({}))));
    }

    #[test]
    fn a_schema_from_the_future_is_refused_with_its_number() {
        let refused = lift(SCHEMA + 1, "run_started".into(), json!({}));
        assert_eq!(refused, Err("run_started has schema 2, and this version knows 1 to 1".into()));
        assert!(lift(0, "run_started".into(), json!({})).is_err());
    }
}
