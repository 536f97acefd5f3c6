//! What holds after every history, whatever went wrong in it.
//!
//! I3, I4, I5 and I11 are looked at while they can be seen, too: at each effect, each switch, each append.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_engine::audit::replay;
use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Cause, Envelope, Event, Origin};
use landfall_engine::core::facts::Facts;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::ledger::{LedgerEvent, ledger_of};
use landfall_engine::core::run::{Blocked, Phase, Run, RunId};
use landfall_engine::core::stage::Stage;
use landfall_engine::engine::replay_all;
use landfall_engine::ports::{EventStore, RunQuery};

use crate::book::Pages;
use crate::life::{LOG_ID, Machine, Told};
use crate::store::SimStore;
use crate::world::Things;

/// The invariants, each with what it says.
pub const INVARIANTS: [(&str, &str); 12] = [
    ("I1", "no acknowledged event is lost"),
    ("I2", "the seqs of a run are dense, with one winner each"),
    ("I3", "no effect is done under one key with two inputs; it leaves one object at most"),
    ("I4", "no effect without a durable intent before it"),
    ("I5", "what the log says serves, serves"),
    ("I6", "every intent ends concluded, undone or parked"),
    ("I7", "once faults stop, every run is terminal or parked within a bound"),
    ("I8", "a replay gives the same to the byte, and the log verifies"),
    ("I9", "nothing is left that nobody owns"),
    ("I10", "subscribers see each event once, in order, and none that vanishes"),
    ("I11", "no timer fires early, and no restart resets one"),
    ("I12", "no deploy begins that a person keeps back: to approve it, by a pause, by a hold"),
];

/// Checks everything that can be seen when a history has come to rest.
pub async fn check(machine: &Machine, store: &Arc<SimStore>, told: &mut Told) {
    let mut broken = BTreeSet::new();
    let mut violation = |invariant: &str, what: String| _ = broken.insert(format!("{invariant}: {what}"));
    let runs = store.inner.runs(RunQuery { limit: 1_000, ..RunQuery::default() }).await.unwrap();
    let mut histories: BTreeMap<RunId, Vec<Envelope>> = BTreeMap::new();
    for run in &runs {
        match store.inner.events(run.id).await {
            Ok(events) => _ = histories.insert(run.id, events),
            Err(error) => violation("I1", error.to_string()),
        }
    }

    let decided = store.inner.events(ledger_of(LOG_ID)).await.unwrap();
    check_promises(&machine.book.pages(), &histories, &decided, told, &mut violation);
    let clock_was_set = told.counts.contains_key("acts: clock step");
    let folded: BTreeMap<RunId, Run> = histories
        .iter()
        .filter_map(|(run, events)| Some((*run, replay_all(events).ok().flatten()?)))
        .collect();
    for (run, events) in &histories {
        let Some(fold) = folded.get(run) else {
            violation("I8", format!("{run} makes illegal moves"));
            continue;
        };
        // Who waits for a lane that a parked run has waits for the same person.
        let waits_for_parked = fold.phase == Phase::Ready
            && folded
                .values()
                .any(|other| other.lane == fold.lane && other.parked().is_some() && other.holds_lane());
        if !fold.is_closed() && fold.parked().is_none() && !waits_for_parked {
            violation("I7", format!("{run} is neither terminal nor parked: {:?}", fold.phase));
        }
        for problem in &replay(events, None).problems {
            violation("I8", format!("{run}: {problem}"));
        }
        check_intents(fold, events, &mut violation);
        count_limited(events, told);
        check_answers(&machine.world.at(machine.true_ms), fold, events, &mut violation);
        check_timers(*run, events, clock_was_set, &mut violation);
        told.checks += events.len() as u64;
        told.happened.extend(events.iter().map(|envelope| happened(&envelope.event)));
    }
    // I8: the index was kept up event by event, and says the same.
    for line in &runs {
        let Some(fold) = folded.get(&line.id) else { continue };
        let (indexed, is) = (
            (line.state, line.seq, line.open, line.parked.is_some(), line.approval_until_ms),
            (fold.state, fold.seq, !fold.is_closed(), fold.parked().is_some(), awaited_until(fold)),
        );
        if indexed != is {
            violation("I8", format!("the index says {indexed:?} of {}, and the log {is:?}", line.id));
        }
    }

    // I8, the log.
    match store.inner.verify().await {
        Ok(verified) => {
            for problem in &verified.problems {
                violation("I8", format!("{problem:?}"));
            }
            told.head = verified.head.to_string();
            told.events = verified.events;
        }
        Err(error) => violation("I8", error.to_string()),
    }

    check_order(&histories, &decided, &mut violation);
    check_world(machine, &histories, store, &mut violation).await;
    told.checks += INVARIANTS.len() as u64;
    told.violations.extend(broken);
    told.violations.sort_unstable();
    told.violations.dedup();
}

/// I1, I2, I10: what was promised or shown is there, as it was, and a delivery started one run.
fn check_promises(
    pages: &Pages,
    histories: &BTreeMap<RunId, Vec<Envelope>>,
    decided: &[Envelope],
    told: &mut Told,
    violation: &mut impl FnMut(&str, String),
) {
    let by_place: BTreeMap<u64, &Envelope> =
        histories.values().flatten().chain(decided).map(|envelope| (envelope.global_seq, envelope)).collect();
    for (global_seq, (run, seq, hash)) in &pages.known {
        match by_place.get(global_seq) {
            Some(there) if (there.run_id, there.seq, there.hash) == (*run, *seq, *hash) => {}
            Some(_) => violation("I1", format!("event {global_seq} ({run} seq {seq}) is another one now")),
            None => violation("I1", format!("event {global_seq} ({run} seq {seq}) is lost")),
        }
    }
    for (trigger, answered) in &pages.triggers {
        for run in answered.iter().filter(|run| !histories.contains_key(run)) {
            violation("I1", format!("{trigger} was answered with {run}, which is not there"));
        }
    }
    let mut started: BTreeMap<&str, u64> = BTreeMap::new();
    for (run, events) in histories {
        if !events.iter().zip(1..).all(|(envelope, seq)| envelope.seq == seq) {
            violation("I2", format!("the seqs of {run} are not dense"));
        }
        if let Some(Event::RunStarted { trigger, .. }) = events.first().map(|first| &first.event) {
            *started.entry(trigger).or_default() += 1;
        }
    }
    for (claim, trigger) in &pages.claimed_by {
        let runs = started.get(trigger.as_str()).copied().unwrap_or_default();
        if runs > 1 {
            violation("I2", format!("{claim} started {runs} runs"));
        }
    }
    told.checks += pages.known.len() as u64;
    told.violations.extend(pages.violations.iter().cloned());
    told.counts.extend(pages.done.iter().map(|(what, count)| ((*what).to_owned(), *count)));
}

/// Returns the name of an event, with its stage where it has one.
fn happened(event: &Event) -> String {
    match event {
        Event::StageStarted { stage, .. }
        | Event::StageSucceeded { stage, .. }
        | Event::StageFailed { stage, .. }
        | Event::StageErrored { stage, .. }
        | Event::StageUndone { stage, .. }
        | Event::StageSkipped { stage, .. }
        | Event::StageRecovered { stage, .. } => format!("{} {stage}", event.name()),
        Event::RunParked { at: Blocked::Stage { stage, .. }, .. } => format!("run_parked {stage}"),
        Event::RunParked { at: Blocked::Rollback { .. }, .. } => "run_parked rollback".into(),
        Event::RunFailed { cause: Cause::Superseded { .. } } => "run_failed superseded".into(),
        Event::RunFailed { cause: Cause::Rejected { .. } } => "run_failed rejected".into(),
        Event::RunFailed { cause: Cause::NotApproved { .. } } => "run_failed not approved".into(),
        Event::RunFailed { cause: Cause::Held { .. } } => "run_failed held".into(),
        Event::RunStarted { origin: Origin::Rerun(_), .. } => "run_started again".into(),
        Event::RunStarted { origin: Origin::Promotion { .. }, .. } => "run_started promoted".into(),
        other => other.name().into(),
    }
}

/// Counts the times that a run was parked by its limit of events, and those at which it went on.
fn count_limited(events: &[Envelope], told: &mut Told) {
    for (nth, envelope) in events.iter().enumerate() {
        let Event::RunParked { at: Blocked::Stage { stage, attempt: 0 }, .. } = &envelope.event else {
            continue;
        };
        *told.counts.entry("runs parked before a stage by their limit".into()).or_default() += 1;
        let goes_on = |later: &Envelope| match &later.event {
            Event::StageStarted { stage: begun, .. } | Event::StageSkipped { stage: begun, .. } => {
                begun == stage
            }
            _ => false,
        };
        if events[nth..].iter().any(goes_on) {
            *told.counts.entry("runs that went on when it was raised".into()).or_default() += 1;
        }
    }
}

/// I6: every intent has its end. What a run was parked at is a person's, until the run goes on.
fn check_intents(run: &Run, events: &[Envelope], violation: &mut impl FnMut(&str, String)) {
    let mut open: BTreeSet<String> = BTreeSet::new();
    for envelope in events {
        let key = envelope.effect_key.clone().unwrap_or_default();
        match &envelope.event {
            Event::StageStarted { .. } | Event::RollbackStarted { .. } | Event::NoticeStarted { .. } => {
                open.insert(key);
            }
            Event::StageSucceeded { .. }
            | Event::StageFailed { .. }
            | Event::StageErrored { .. }
            | Event::StageUndone { .. }
            | Event::RollbackSucceeded { .. }
            | Event::RollbackErrored { .. }
            | Event::NoticeSent { .. }
            | Event::NoticeErrored { .. } => _ = open.remove(&key),
            Event::RunParked { at: Blocked::Stage { stage, attempt }, .. } => {
                open.remove(EffectKey::stage(run.id, *stage, *attempt).as_str());
            }
            Event::RunParked { at: Blocked::Rollback { attempt }, .. } => {
                open.remove(EffectKey::rollback(run.id, *attempt).as_str());
            }
            _ => {}
        }
    }
    for key in open {
        violation("I6", format!("{key} has no end"));
    }
}

/// I6: an answer is recorded as it was given; what was undone, was undone; a switch is not cut in half.
fn check_answers(things: &Things, run: &Run, events: &[Envelope], violation: &mut impl FnMut(&str, String)) {
    for envelope in events {
        let key = envelope.effect_key.as_deref().unwrap_or_default();
        match &envelope.event {
            Event::StageErrored { reason, .. } if things.answers.get(key) == Some(&true) => {
                violation("I6", format!("{key} was red, and is recorded without an answer: {reason}"));
            }
            Event::StageUndone { stage: Stage::GoLive | Stage::ReleaseCommand, .. } => {
                violation("I6", format!("{key} was cut in half"));
            }
            Event::NoticeSent { .. } if !things.notices.contains_key(key) => {
                violation("I6", format!("{key} is recorded as sent, and never went out"));
            }
            Event::StageUndone { .. } if !things.undone.contains(key) => {
                violation("I6", format!("{key} is recorded as undone, and was not, in {}", run.id));
            }
            _ => {}
        }
    }
}

/// Returns until when a run waits to be approved, if it does.
fn awaited_until(run: &Run) -> Option<u64> {
    match run.phase {
        Phase::AwaitingApproval { until_ms } => Some(until_ms),
        _ => None,
    }
}

/// Tells whether a person has to approve the deploy of a run, and has not.
fn lacks_approval(events: &[Envelope]) -> bool {
    let by_hand = |event: &Event| matches!(event, Event::RunStarted { origin: Origin::Release { .. }, .. });
    let settings = |event: &Event| match event {
        Event::RunStarted { origin: Origin::Promotion { settings, .. }, .. } => Some(settings.clone()),
        Event::RunStarted { origin: Origin::Rerun(rerun), .. } => rerun.settings.clone(),
        Event::StageSucceeded { facts: Facts::Checkout(checkout), .. } => Some(checkout.settings.clone()),
        _ => None,
    };
    let asks = events
        .iter()
        .find_map(|told| settings(&told.event))
        .is_some_and(|settings| settings.deploy.approval_ms.is_some());
    let entered = events.iter().position(|told| matches!(told.event, Event::DeploymentStarted { .. }));
    let a_person = |told: &Envelope| told.event == Event::RunApproved && told.actor != "engine";
    let approved = events.iter().position(a_person);
    asks && !events.iter().any(|told| by_hand(&told.event))
        && entered.is_some_and(|entered| approved.is_none_or(|approved| approved > entered))
}

/// I2, I5 and I12 over all runs: ids grow with the log, newer pushes are not overtaken, holds hold, pauses too.
fn check_order(
    histories: &BTreeMap<RunId, Vec<Envelope>>,
    decided: &[Envelope],
    violation: &mut impl FnMut(&str, String),
) {
    for (run, events) in histories.iter().filter(|(_, events)| lacks_approval(events)) {
        violation("I12", format!("{run} deploys, and nobody approved that: {} events", events.len()));
    }
    let mut paused: BTreeSet<LaneId> = BTreeSet::new();
    let mut all: Vec<&Envelope> = histories.values().flatten().chain(decided).collect();
    all.sort_unstable_by_key(|envelope| envelope.global_seq);
    let mut newest: Option<RunId> = None;
    let mut entered: BTreeMap<(LaneId, String), RunId> = BTreeMap::new();
    let mut held: BTreeSet<(LaneId, String)> = BTreeSet::new();
    let mut pushed: BTreeMap<RunId, (LaneId, String)> = BTreeMap::new();
    for envelope in all {
        let run = envelope.run_id;
        match &envelope.event {
            Event::RunStarted { lane, origin, .. } => {
                // Two that come at once may be recorded in either order.
                let ms = |run: RunId| u64::try_from(run.0.as_u128() >> 80).unwrap();
                if newest.is_some_and(|newest| ms(newest) > ms(run) + 10_000) {
                    violation("I2", format!("{run} is younger than {newest:?}, and has a lower id"));
                }
                newest = newest.max(Some(run));
                let (commit, release_hold) = match origin {
                    Origin::Push { commit, release_hold, .. } => (commit, *release_hold),
                    Origin::Rerun(rerun) => (&rerun.commit, rerun.release_hold),
                    Origin::Promotion { release, .. } => (&release.commit, false),
                    Origin::Release { .. } => continue,
                };
                let what = (lane.clone(), commit.sha.clone());
                if release_hold {
                    held.remove(&what);
                }
                pushed.insert(run, what);
            }
            Event::Ledger(event) => match event {
                LedgerEvent::LanePaused { lane, .. } => _ = paused.insert(lane.clone()),
                LedgerEvent::LaneResumed { lane } => _ = paused.remove(lane),
                LedgerEvent::CommitHeld { lane, sha, .. } => _ = held.insert((lane.clone(), sha.clone())),
                LedgerEvent::HoldReleased { lane, sha } => _ = held.remove(&(lane.clone(), sha.clone())),
                _ => {}
            },
            Event::DeploymentStarted { branch, .. } => {
                let Some((lane, sha)) = pushed.get(&run) else { continue };
                if paused.contains(lane) {
                    violation("I12", format!("{run} deploys to {lane}, which is paused"));
                }
                if held.contains(&(lane.clone(), sha.clone())) {
                    violation("I5", format!("{run} deploys {sha}, which is held"));
                }
                let Some(branch) = branch else { continue };
                let before = entered.insert((lane.clone(), branch.clone()), run);
                if before.is_some_and(|before| before > run) {
                    violation("I5", format!("{run} deploys over the newer {before:?}"));
                }
            }
            Event::RollbackSucceeded { hold: Some(hold), .. } => {
                if let Some((lane, _)) = pushed.get(&run) {
                    held.insert((lane.clone(), hold.sha.clone()));
                }
            }
            _ => {}
        }
    }
}

/// I11: what waits for a time begins at that time or later.
fn check_timers(
    run: RunId,
    events: &[Envelope],
    clock_was_set: bool,
    violation: &mut impl FnMut(&str, String),
) {
    let mut due: BTreeMap<String, u64> = BTreeMap::new();
    for envelope in events {
        let at_ms = envelope.recorded_at_ms;
        match &envelope.event {
            Event::StageErrored { stage, retry_due_ms: Some(due_ms), .. } => {
                due.insert(stage.to_string(), *due_ms);
            }
            Event::RollbackErrored { retry_due_ms: Some(due_ms), .. } => {
                due.insert("rollback".into(), *due_ms);
            }
            Event::NoticeErrored { notice, retry_due_ms: Some(due_ms), .. } => {
                due.insert(notice.to_string(), *due_ms);
            }
            Event::RunUnparked { .. } | Event::CancelRequested { .. } => due.clear(),
            begun => {
                let what = match begun {
                    Event::StageStarted { stage, .. } => stage.to_string(),
                    Event::RollbackStarted { .. } => "rollback".into(),
                    Event::NoticeStarted { notice, .. } => notice.to_string(),
                    _ => continue,
                };
                if due.remove(&what).is_some_and(|due_ms| at_ms < due_ms) {
                    violation("I11", format!("{what} of {run} was tried again before its time"));
                }
            }
        }
    }
    for (nth, envelope) in events.iter().enumerate() {
        let (stage, said) = match &envelope.event {
            Event::StageFailed { stage, failure, .. } => (stage, &failure.reason),
            Event::StageErrored { stage, reason, .. } => (stage, reason),
            _ => continue,
        };
        let out_of_time = [" stopped after ", &format!("{stage} gave no answer within"), "time ran out"];
        if !out_of_time.iter().any(|words| said.contains(words)) {
            continue;
        }
        let deadline_ms = events[..nth].iter().rev().find_map(|before| match &before.event {
            Event::StageStarted { stage: begun, deadline_ms, .. } if begun == stage => Some(*deadline_ms),
            _ => None,
        });
        // A clock that was set back in between tells another time than the one that was waited for.
        if deadline_ms.is_some_and(|deadline_ms| envelope.recorded_at_ms < deadline_ms) && !clock_was_set {
            let (at_ms, seq) = (envelope.recorded_at_ms, envelope.seq);
            let what = format!(
                "{stage} of {run} was out of time at {at_ms}, before {deadline_ms:?} (seq {seq}: {said})"
            );
            violation("I11", what);
        }
    }
}

/// I5 and I9: the world is as the log says, and has nothing that nobody owns.
async fn check_world(
    machine: &Machine,
    histories: &BTreeMap<RunId, Vec<Envelope>>,
    store: &Arc<SimStore>,
    violation: &mut impl FnMut(&str, String),
) {
    let lanes = store.inner.lanes().await.unwrap();
    let folded: Vec<Run> =
        histories.values().filter_map(|events| replay_all(events).ok().flatten()).collect();
    let open: BTreeSet<RunId> = folded.iter().filter(|run| !run.is_closed()).map(|run| run.id).collect();
    let mut things = machine.world.at(machine.true_ms);
    for (id, lane) in &lanes {
        if folded.iter().any(|run| open.contains(&run.id) && run.holds_lane() && run.lane == *id) {
            continue;
        }
        let recorded = lane.live.as_ref().map(|live| live.image.digest.clone());
        let route = things.routes.get(id).cloned().unwrap_or_default();
        let serves = route.target.as_ref().map(|(digest, _)| digest.clone());
        let runs = route.target.and_then(|(_, name)| things.containers.get(&name).map(|c| c.digest.clone()));
        if serves != recorded || runs != recorded {
            violation("I5", format!("{id}: {recorded:?} is recorded, {serves:?} routed, {runs:?} runs"));
        }
    }
    // An open run owns what it made, what it replaces, and what it is to make live again.
    let mut owned: BTreeSet<String> = lanes
        .iter()
        .filter_map(|(_, lane)| lane.live.as_ref())
        .map(|live| live.candidate.container.clone())
        .collect();
    let mut images: BTreeSet<String> = BTreeSet::new();
    for (_, lane) in &lanes {
        let settings = lane.live.as_ref().map(|live| machine.script.settings(&live.commit.sha));
        let retain = settings.map_or(0, |settings| settings.deploy.retain as usize);
        images.extend(lane.retained(retain).map(|release| release.image.digest.clone()));
    }
    for run in folded.iter().filter(|run| open.contains(&run.id)) {
        owned.extend(
            run.entry
                .as_ref()
                .and_then(|entry| entry.replaces.as_ref())
                .map(|r| r.candidate.container.clone()),
        );
        images.extend(run.image.as_ref().map(|image| image.digest.clone()));
        if let Origin::Release { release, .. } = &run.origin {
            owned.insert(release.candidate.container.clone());
        }
    }
    for (name, container) in &things.containers {
        if !open.contains(&container.run) && !owned.contains(name) {
            violation("I9", format!("the container {name} is left"));
        }
    }
    for run in things.folders.iter().filter(|run| !open.contains(run)) {
        violation("I9", format!("the folder of {run} is left"));
    }
    for (run, digest) in &things.images {
        if !open.contains(run) && !images.contains(digest) {
            violation("I9", format!("the image {digest} is left"));
        }
    }
    for (run, times) in &things.released {
        let attempts = histories.get(run).map_or(0, |events| {
            let begun =
                |e: &&Envelope| matches!(e.event, Event::StageStarted { stage: Stage::ReleaseCommand, .. });
            events.iter().filter(begun).count()
        });
        if *times as usize > attempts {
            violation("I3", format!("the release command of {run} ran {times} times in {attempts} attempts"));
        }
    }
    let seen: Vec<String> = std::mem::take(&mut things.violations).into_iter().collect();
    for what in seen {
        if let Some((invariant, what)) = what.split_once(": ") {
            violation(invariant, what.to_owned());
        }
    }
}
