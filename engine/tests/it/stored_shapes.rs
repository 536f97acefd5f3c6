//! The text of every event, pinned: a rename in Rust must not rename history.

use crate::sample::{every_event, same_as_file};
use landfall_engine::core::event::Event;

#[test]
fn the_stored_text_of_every_event_is_pinned() {
    let lines: Vec<String> = every_event()
        .iter()
        .map(|event| serde_json::to_string(event).expect("events are plain data"))
        .collect();
    same_as_file("stored_shapes.txt", &(lines.join("\n") + "\n"));
}

#[test]
fn every_event_is_read_back_from_its_stored_text() {
    let stored = include_str!("stored_shapes.txt");
    let read: Vec<Event> = stored
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert_eq!(read, every_event());
}

#[test]
fn the_stored_name_of_an_event_is_its_name() {
    for event in every_event() {
        let value = serde_json::to_value(&event).expect("events are plain data");
        assert_eq!(value["type"], event.name());
    }
}
