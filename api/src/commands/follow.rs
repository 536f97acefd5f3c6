//! Shows a run while it goes on: a live picture, plain lines, or JSON. Ends when nothing more happens
//! without a person.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use landfall_engine::core::effect::next_effect;
use landfall_engine::core::run::{Phase, Run, RunState};
use landfall_engine::ports::{Clock, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::feed::{Feed, Happening};
use super::stdout;
use crate::fault::Fault;
use crate::lines::EventLines;
use crate::picture::frame::FRAME_MS;
use crate::picture::model::Picture;
use crate::picture::screen::{Screen, colour_on, say, text};
use crate::picture::summary::summary;
use crate::picture::text::harmless;

/// What stands before a line that a stage printed, where nothing is drawn.
const INDENT: &str = "      │ ";

/// Asks for the end of the run that is followed.
pub type Cancel<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<(), Fault>> + Send + Sync);

/// How a run is followed.
pub struct Following<'a> {
    /// The last event that is known to be there: a run that was parked may go on again, and is followed past that.
    pub known_seq: u64,
    /// Prints events as JSON.
    pub json: bool,
    /// Added to the commands that are named, so that they find the same log.
    pub flags: &'a str,
    /// What Ctrl-C asks for first. None: it leaves at once, and the run goes on.
    pub cancel: Option<Cancel<'a>>,
    /// The feed is what was recorded so far: where it ends, everything is told.
    pub is_record: bool,
}

impl fmt::Debug for Following<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("known_seq", &self.known_seq).finish_non_exhaustive()
    }
}

/// How the following ended.
#[derive(Debug)]
pub enum Followed {
    /// The run is over, or waits for a person.
    Settled(Box<Picture>),
    /// Whoever watched left; the run goes on, or will.
    Left,
}

/// How the run is shown.
enum Form {
    Screen(Screen),
    Lines(Box<EventLines>),
    Json,
    /// Nobody reads any more; the run goes on all the same.
    Silent,
}

/// Follows a run to where nothing more happens without a person, then sums it up.
///
/// The feed tells the history first, into a picture that has none of it.
///
/// # Errors
///
/// [`Fault`] when the feed breaks off.
pub async fn follow(mut feed: Feed, picture: Picture, following: Following<'_>) -> Result<Followed, Fault> {
    let Following { known_seq, json, flags, cancel, is_record } = following;
    let mut shown = Shown::begin(picture, json, flags);
    let mut frames = tokio::time::interval(Duration::from_millis(FRAME_MS));
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut cancelling: Option<BoxFuture<'_, Result<(), Fault>>> = None;
    let mut interrupts =
        signal(SignalKind::interrupt()).map_err(|error| Fault::io("could not listen for Ctrl-C", error))?;
    let mut is_cancelled = false;
    let ended = loop {
        tokio::select! {
            biased;
            Some(()) = interrupts.recv() => {
                let Some(cancel) = cancel.filter(|_| !is_cancelled) else { break Ok(false) };
                is_cancelled = true;
                shown.say("cancelling the run; Ctrl-C again leaves at once");
                cancelling = Some(cancel());
            }
            answer = async { cancelling.as_mut().expect("the branch is guarded").await }, if cancelling.is_some() => {
                cancelling = None;
                if let Err(fault) = answer {
                    shown.say(&format!("the run can't be cancelled: {fault}"));
                }
            }
            happening = feed.next() => match happening {
                Some(Ok(happening)) => {
                    if let Err(fault) = shown.take(happening) {
                        break Err(fault);
                    }
                    if shown.picture.run.as_ref().is_some_and(|run| run.seq >= known_seq && is_settled(run)) {
                        break Ok(true);
                    }
                }
                Some(Err(fault)) => break Err(fault),
                None if is_record => break Ok(true),
                None => break Err(Fault::unavailable(
                    "the run went out of sight before its end; `landfall show last` tells how it stands",
                    "no more events came",
                )),
            },
            _ = frames.tick(), if shown.is_drawn() => shown.draw(),
        }
    };
    let picture = shown.end(flags, matches!(ended, Ok(true)))?;
    ended.map(|settled| if settled { Followed::Settled(Box::new(picture)) } else { Followed::Left })
}

/// Returns the exit code that says how a run ended.
pub fn exit_code(run: &Run) -> u8 {
    match (&run.phase, run.state) {
        (Phase::Parked(_) | Phase::AwaitingApproval { .. }, _) => 3,
        (_, RunState::Failed) => 1,
        (_, RunState::RolledBack) => 2,
        _ => 0,
    }
}

/// Tells whether nothing more happens to a run without a person.
pub fn is_settled(run: &Run) -> bool {
    next_effect(run).is_none_or(|effect| effect.is_a_persons())
}

/// A run as it is shown.
struct Shown {
    picture: Picture,
    form: Form,
}

impl Shown {
    fn begin(picture: Picture, json: bool, flags: &str) -> Self {
        let lines = || EventLines::new().with_flags(flags).with_usual(picture.usual.clone());
        let drawn = || Screen::open().map_or_else(|| Form::Lines(Box::new(lines())), Form::Screen);
        let form = if json { Form::Json } else { drawn() };
        Self { picture, form }
    }

    fn take(&mut self, happening: Happening) -> Result<(), Fault> {
        match self.told(happening) {
            Err(Fault::HungUp) => {
                self.form = Form::Silent;
                Ok(())
            }
            told => told,
        }
    }

    fn told(&mut self, happening: Happening) -> Result<(), Fault> {
        match &happening {
            Happening::Event(envelope) => self.picture.take(envelope),
            Happening::Line(line) => self.picture.print(line),
        }
        match (&mut self.form, happening) {
            (Form::Screen(_) | Form::Silent, _) | (Form::Json, Happening::Line(_)) => Ok(()),
            (Form::Json, Happening::Event(envelope)) => stdout::json(&envelope),
            (Form::Lines(lines), Happening::Event(envelope)) => {
                let colour = colour_on(&std::io::stdout());
                lines.tell(&envelope).iter().try_for_each(|line| stdout::line(&line.paint(colour)))
            }
            (Form::Lines(_), Happening::Line(line)) => stdout::line(&format!("{INDENT}{}", harmless(&line))),
        }
    }

    fn is_drawn(&self) -> bool {
        matches!(self.form, Form::Screen(_))
    }

    fn draw(&self) {
        if let Form::Screen(screen) = &self.form {
            screen.show(&self.picture, SystemClock.now_ms());
        }
    }

    fn say(&self, message: &str) {
        match &self.form {
            Form::Screen(screen) => screen.say(message),
            Form::Lines(_) | Form::Json | Form::Silent => say(message),
        }
    }

    /// Leaves the last picture, and what there is to say about the end. Plain lines have said it already.
    fn end(self, flags: &str, is_settled: bool) -> Result<Picture, Fault> {
        let Self { picture, form } = self;
        if let Form::Screen(screen) = form {
            screen.close(&picture, SystemClock.now_ms());
            if is_settled {
                let lines = summary(&picture, flags);
                match stdout::line(&text(&lines, colour_on(&std::io::stdout()))) {
                    Err(Fault::HungUp) | Ok(()) => {}
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(picture)
    }
}
