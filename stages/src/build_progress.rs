//! What BuildKit reports while it builds, as lines that people know from `docker build`.
//!
//! BuildKit tells of steps (which it calls vertexes) over and over, each time with all it knows: a step
//! begins, prints, ends. Here each of that is said once.

use std::collections::HashMap;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};

use crate::lines::{LineBuffer, Tail};

/// The steps of one build, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    numbers: HashMap<String, usize>,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    ended: bool,
    error: String,
    /// Of stdout and of stderr.
    pending: [LineBuffer; 2],
    tail: Tail,
}

/// BuildKit's number of a step's stderr.
const STDERR: i64 = 2;

/// The step at which a build ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedStep {
    /// As the Dockerfile has it: `[3/6] RUN pip install …`.
    pub(crate) name: String,
    /// What BuildKit says about it.
    pub(crate) error: String,
    /// The last lines that it printed.
    pub(crate) tail: Vec<String>,
}

impl Progress {
    /// Takes a report and gives out the lines that are new in it.
    pub(crate) fn take(&mut self, report: StatusResponse, mut line: impl FnMut(&str)) {
        for vertex in report.vertexes {
            self.take_vertex(vertex, &mut line);
        }
        for log in report.logs {
            let Some(&number) = self.numbers.get(&log.vertex) else { continue };
            let Step { pending, tail, .. } = &mut self.steps[number];
            pending[usize::from(log.stream == STDERR)].push(&log.msg, |text| {
                tail.push(text);
                line(&format!("#{} {text}", number + 1));
            });
        }
    }

    /// Returns the step at which the build ended, when BuildKit named one.
    pub(crate) fn failed_step(&self) -> Option<FailedStep> {
        let by_failing = |step: &&Step| !step.error.is_empty() && !is_echo(&step.error);
        let step = self.steps.iter().find(by_failing)?;
        Some(FailedStep {
            name: step.name.clone(),
            error: step.error.clone(),
            tail: step.tail.clone().into_lines(),
        })
    }

    fn take_vertex(&mut self, vertex: Vertex, line: &mut impl FnMut(&str)) {
        if vertex.started.is_none() && !vertex.cached {
            return;
        }
        let number = match self.numbers.get(&vertex.digest) {
            Some(number) => *number,
            None => {
                let number = self.steps.len();
                line(&format!("#{} {}", number + 1, vertex.name));
                self.numbers.insert(vertex.digest.clone(), number);
                self.steps.push(Step {
                    name: vertex.name.clone(),
                    ended: false,
                    error: String::new(),
                    pending: Default::default(),
                    tail: Tail::default(),
                });
                number
            }
        };
        let step = &mut self.steps[number];
        // A step that BuildKit tries twice ends twice; the end that counts is the last one.
        if vertex.completed.is_none() || (step.ended && step.error == vertex.error) {
            return;
        }
        step.ended = true;
        step.error.clone_from(&vertex.error);
        let Step { pending, tail, .. } = step;
        for buffer in pending {
            buffer.finish(|text| {
                tail.push(text);
                line(&format!("#{} {text}", number + 1));
            });
        }
        let end = if !vertex.error.is_empty() {
            format!("ERROR: {}", vertex.error)
        } else if vertex.cached {
            "CACHED".to_owned()
        } else {
            format!("DONE {:.1}s", seconds(&vertex))
        };
        line(&format!("#{} {end}", number + 1));
    }
}

/// Steps that were stopped because another one failed say so, and are not the reason.
fn is_echo(error: &str) -> bool {
    error.contains("context canceled")
}

fn seconds(vertex: &Vertex) -> f64 {
    let started = vertex.started.map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9);
    let completed = vertex.completed.map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9);
    (completed - started).max(0.0)
}

#[cfg(test)]
mod tests {
    use bollard::moby::buildkit::v1::VertexLog;

    use super::*;

    fn begun(digest: &str, name: &str) -> Vertex {
        Vertex {
            digest: digest.into(),
            name: name.into(),
            started: Some(Default::default()),
            ..Vertex::default()
        }
    }

    fn ended(digest: &str, name: &str, error: &str) -> Vertex {
        let mut completed = begun(digest, name);
        completed.completed = completed.started.map(|mut at| {
            at.seconds += 2;
            at
        });
        completed.error = error.into();
        completed
    }

    fn report(vertexes: Vec<Vertex>, logs: Vec<(&str, &str)>) -> StatusResponse {
        let logs = logs.into_iter().map(|(vertex, text)| VertexLog {
            vertex: vertex.into(),
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        });
        StatusResponse { vertexes, logs: logs.collect(), ..StatusResponse::default() }
    }

    fn lines(progress: &mut Progress, reports: Vec<StatusResponse>) -> Vec<String> {
        let mut lines = Vec::new();
        for report in reports {
            progress.take(report, |line| lines.push(line.to_owned()));
        }
        lines
    }

    #[test]
    fn a_step_is_said_to_begin_to_print_and_to_end_once() {
        let mut progress = Progress::default();
        let cached = Vertex { cached: true, ..ended("b", "[2/3] COPY . .", "") };
        let seen = lines(
            &mut progress,
            vec![
                report(vec![Vertex { digest: "c".into(), ..Vertex::default() }], vec![]),
                report(vec![begun("a", "[1/3] FROM x"), begun("a", "[1/3] FROM x")], vec![("a", "pul")]),
                report(vec![cached.clone(), cached], vec![("a", "ling\nrest")]),
                report(vec![ended("a", "[1/3] FROM x", "")], vec![("unknown", "lost\n")]),
            ],
        );
        let expected =
            ["#1 [1/3] FROM x", "#2 [2/3] COPY . .", "#2 CACHED", "#1 pulling", "#1 rest", "#1 DONE 2.0s"];
        assert_eq!(seen, expected);
        assert_eq!(progress.failed_step(), None);
    }

    #[test]
    fn the_step_that_failed_is_named_and_not_one_that_was_stopped_for_it() {
        let mut progress = Progress::default();
        lines(
            &mut progress,
            vec![
                report(vec![begun("a", "RUN slow"), begun("b", "RUN false")], vec![("b", "oh no\n")]),
                report(vec![ended("a", "RUN slow", "context canceled: stopped")], vec![]),
                report(vec![ended("b", "RUN false", "exit code: 1")], vec![]),
            ],
        );
        let expected =
            FailedStep { name: "RUN false".into(), error: "exit code: 1".into(), tail: vec!["oh no".into()] };
        assert_eq!(progress.failed_step(), Some(expected));
    }
}
