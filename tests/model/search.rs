//! Breadth first through every state, with the shortest trace to the first one that breaks a rule.
//!
//! Beside the rules of single states it shows that every path ends: leave out what goes wrong and what people ask
//! for, and the steps that are left lead from each state, whichever is taken, to one in which every run is closed
//! or waits for a person. So there is no dead state, and no two engines that keep each other busy for ever.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use crate::engine::{Action, Model, Setting};
use crate::state::State;

/// What a search went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Searched {
    pub states: u64,
    pub transitions: u64,
    /// Steps to the state that is farthest from the first.
    pub longest: u64,
}

/// What broke, and how to get there.
#[derive(Debug)]
pub struct Broken {
    pub what: String,
    pub steps: usize,
    pub trace: String,
}

/// Where a state was first reached from.
type Reached = Vec<(u32, Action)>;

/// Searches every state of the setting.
///
/// # Errors
///
/// The first state that breaks a rule, by a shortest trace.
pub fn search(setting: &Setting) -> Result<Searched, Box<Broken>> {
    let mut model = Model::new(setting.clone());
    let first = model.begin();
    let mut numbers = HashMap::from([(first.fingerprint(), 0_u32)]);
    let mut reached: Reached = vec![(0, Action::Start(0))];
    let mut depth = vec![0_u32];
    let mut settled = vec![model.is_settled(&first)];
    let mut fair: Vec<(u32, u32)> = Vec::new();
    let mut queue = VecDeque::from([(first, 0_u32)]);
    let mut transitions = 0;
    while let Some((state, from)) = queue.pop_front() {
        for action in model.actions(&state) {
            transitions += 1;
            let after = match model.step(&state, action) {
                Ok(after) => after,
                Err(what) => return Err(broken(setting, &reached, from, Some(action), what)),
            };
            let next = u32::try_from(reached.len()).unwrap();
            let to = *numbers.entry(after.fingerprint()).or_insert(next);
            if action.is_fair() {
                fair.push((from, to));
            }
            if to == next {
                reached.push((from, action));
                depth.push(depth[from as usize] + 1);
                settled.push(model.is_settled(&after));
                queue.push_back((after, to));
            }
        }
    }
    if let Some((state, what)) = never_ends(&settled, &fair) {
        return Err(broken(setting, &reached, state, None, what));
    }
    let longest = depth.iter().copied().max().unwrap_or(0).into();
    Ok(Searched { states: reached.len() as u64, transitions, longest })
}

/// Returns a state from which a path of ordinary steps does not end with every run closed or parked.
fn never_ends(settled: &[bool], fair: &[(u32, u32)]) -> Option<(u32, String)> {
    let mut ways = vec![0_u32; settled.len()];
    fair.iter().for_each(|(from, _)| ways[*from as usize] += 1);
    let dead = (0_u32..).zip(&ways).zip(settled).find(|((_, ways), settled)| **ways == 0 && !**settled);
    if let Some(((state, _), _)) = dead {
        return Some((
            state,
            "I7: nothing can happen any more, and a run is neither closed nor parked".into(),
        ));
    }
    // Take away states without a way on, again and again: what is left goes round in circles.
    let mut back = fair.to_vec();
    back.sort_unstable_by_key(|(_, to)| *to);
    let mut ended: Vec<u32> =
        (0_u32..).zip(&ways).filter(|(_, ways)| **ways == 0).map(|(state, _)| state).collect();
    while let Some(state) = ended.pop() {
        let begin = back.partition_point(|(_, to)| *to < state);
        for (from, _) in back[begin..].iter().take_while(|(_, to)| *to == state) {
            ways[*from as usize] -= 1;
            if ways[*from as usize] == 0 {
                ended.push(*from);
            }
        }
    }
    let circle = (0_u32..).zip(&ways).find(|(_, ways)| **ways > 0);
    circle.map(|(state, _)| (state, "I7: the engines go round in circles".into()))
}

fn broken(setting: &Setting, reached: &Reached, at: u32, last: Option<Action>, what: String) -> Box<Broken> {
    let mut actions: Vec<Action> = last.into_iter().collect();
    let mut at = at;
    while at != 0 {
        let (from, action) = reached[at as usize];
        actions.push(action);
        at = from;
    }
    actions.reverse();
    let trace = told(setting, &actions);
    Box::new(Broken { what, steps: actions.len(), trace })
}

/// Takes the steps again and tells what each did.
fn told(setting: &Setting, actions: &[Action]) -> String {
    let mut model = Model::new(setting.clone());
    let mut state = model.begin();
    let mut text = String::new();
    for (nth, action) in (1..).zip(actions) {
        let _ = writeln!(text, "{nth:>3}. {}", tell(&state, *action));
        match model.step(&state, *action) {
            Ok(after) => state = after,
            Err(_) => break,
        }
    }
    let _ = writeln!(text, "     {state:?}");
    for fold in state.log.iter().flatten() {
        let run = &model.history.fold(*fold).run;
        let _ = writeln!(text, "     fold {fold}: {} {:?} seq {}", run.state, run.phase, run.seq);
    }
    text
}

fn tell(state: &State, action: Action) -> String {
    match action {
        Action::Land(nth, run, _)
        | Action::Lose(nth, run)
        | Action::Expire(nth, run)
        | Action::Record(nth, run) => {
            let doing = state.driver(nth, run).map(|driver| driver.doing);
            format!("{action:?}: {doing:?}")
        }
        Action::LandLate(nth) => format!("{action:?}: {:?}", state.late.get(nth)),
        _ => format!("{action:?}"),
    }
}
