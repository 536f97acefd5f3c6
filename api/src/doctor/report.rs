//! The findings as people read them, and as programs do.

use serde::Serialize;

use super::{Finding, Verdict};
use crate::picture::text::{Line, Tone, harmless};

/// Findings as JSON.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// False when something is a problem.
    pub ok: bool,
    /// Each finding.
    pub findings: &'a [Finding],
}

impl<'a> Report<'a> {
    /// Returns the report of these findings.
    pub fn of(findings: &'a [Finding]) -> Self {
        Self { ok: findings.iter().all(|finding| finding.verdict != Verdict::Problem), findings }
    }

    /// Returns a line for each finding, below it what to do, and the sum.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.findings.iter().flat_map(lines_of).collect();
        lines.push(Line::default());
        lines.push(self.sum());
        lines
    }

    fn sum(&self) -> Line {
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let said = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        match (count(Verdict::Problem), count(Verdict::Warning)) {
            (0, 0) => Line::new(Tone::Good, "All is well."),
            (0, warnings) => {
                Line::new(Tone::Warn, said(warnings, "warning")).and(Tone::Plain, ", no problem.")
            }
            (problems, 0) => Line::new(Tone::Bad, said(problems, "problem")).and(Tone::Plain, "."),
            (problems, warnings) => Line::new(Tone::Bad, said(problems, "problem"))
                .and(Tone::Plain, format!(", {}.", said(warnings, "warning"))),
        }
    }
}

fn lines_of(finding: &Finding) -> Vec<Line> {
    let (mark, tone) = match finding.verdict {
        Verdict::Ok => ("✓", Tone::Good),
        Verdict::Warning => ("!", Tone::Warn),
        Verdict::Problem => ("✗", Tone::Bad),
    };
    let first = Line::new(tone, format!(" {mark} "))
        .and(Tone::Strong, format!("{:<12}", finding.name))
        .and(Tone::Plain, harmless(&finding.found.replace('\n', " ")));
    let advice = finding
        .advice
        .as_ref()
        .map(|advice| Line::new(Tone::Dim, format!("{:>15}→ ", "")).and(Tone::Plain, harmless(advice)));
    [first].into_iter().chain(advice).collect()
}
