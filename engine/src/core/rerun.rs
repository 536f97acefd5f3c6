//! A run that begins in the middle of a former one, with the configuration and the findings that it had.
//!
//! What the stages before found out is recorded with the start of the new run, so it stands for itself: an
//! audit need not look at the former one. **What is gone is made again**: the files and the image on this machine
//! were swept when the former run was over, so a rerun that needs them lays the commit out first, and one from the
//! push of the image begins with its build. The image in the registry is looked for by the stages, by its digest.
//!
//! A rerun begins with its deploy at the latest: the candidate of the former run is gone, or it serves.

use serde::{Deserialize, Serialize};

use super::command::Rejected;
use super::event::{Commit, Origin};
use super::facts::{PushedImage, TestReport};
use super::run::{Run, RunId, RunState};
use super::settings::Settings;
use super::stage::Stage;

/// What a rerun takes over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Rerun {
    /// The former run.
    pub of: RunId,
    /// The first stage that is done anew.
    pub from: Stage,
    /// What was pushed.
    pub commit: Commit,
    /// The git repository that has it.
    pub repository: String,
    /// True when whoever asked lifts the hold on this commit.
    pub release_hold: bool,
    /// The configuration that it had. None: the commit's is read, since the checkout is done anew.
    pub settings: Option<Box<Settings>>,
    /// The test result, when the tests are not run again and gave one.
    pub tests: Option<TestReport>,
    /// The image in the registry, when it is not pushed again.
    pub image: Option<PushedImage>,
}

impl Rerun {
    /// Returns what a rerun of a run takes over.
    ///
    /// # Errors
    ///
    /// [`Rejected::NotOver`] and [`Rejected::NotRerunnable`].
    pub fn of(former: &Run, from: Stage, release_hold: bool) -> Result<Self, Rejected> {
        if !former.state.is_terminal() {
            return Err(Rejected::NotOver);
        }
        let refused = |why: String| Err(Rejected::NotRerunnable { run: former.id, why });
        let Some((commit, repository)) = former.origin.source() else {
            return refused("it started from a release: roll back or promote to that again".into());
        };
        let from = if from == Stage::PushImage { Stage::Build } else { from };
        let has_release_command = former.settings.as_ref().is_some_and(|settings| settings.release.is_some());
        if from == Stage::ReleaseCommand && !has_release_command {
            return refused("it has no release command".into());
        }
        let needed = match from {
            Stage::Checkout => None,
            Stage::Test => Some(Stage::Checkout),
            Stage::Build | Stage::PushImage => Some(Stage::Test),
            Stage::Deploy if has_release_command => Some(Stage::ReleaseCommand),
            Stage::ReleaseCommand | Stage::Deploy => Some(Stage::PushImage),
            Stage::Smoke | Stage::GoLive | Stage::PublicSmoke => {
                return refused(format!("a rerun begins with deploy at the latest, not with {from}"));
            }
        };
        if former.done < needed {
            let done = former.done.map_or("nothing".to_owned(), |stage| stage.to_string());
            return refused(format!("of what comes before {from} it concluded no more than {done}"));
        }
        let keeps = |stage: Stage| from > stage;
        let rerun = Self {
            of: former.id,
            from,
            commit: commit.clone(),
            repository: repository.to_owned(),
            release_hold,
            settings: former.settings.clone().filter(|_| keeps(Stage::Checkout)),
            tests: former.tests.clone().filter(|_| keeps(Stage::Test)),
            image: former.image.clone().filter(|_| keeps(Stage::PushImage)),
        };
        let lacks = [
            (keeps(Stage::Checkout) && rerun.settings.is_none(), "configuration"),
            (keeps(Stage::PushImage) && rerun.image.is_none(), "image"),
        ];
        match lacks.into_iter().find(|(lacks, _)| *lacks) {
            Some((_, what)) => refused(format!("its history names no {what}")),
            None => Ok(rerun),
        }
    }

    /// Returns where a rerun begins: how far it is, and the last stage that is behind it.
    pub fn begins(&self) -> (RunState, Option<Stage>) {
        let has_release_command = self.settings.as_ref().is_some_and(|settings| settings.release.is_some());
        match self.from {
            Stage::Checkout | Stage::Test => (RunState::Pushed, None),
            Stage::Build | Stage::PushImage => (RunState::Tested, Some(Stage::Test)),
            Stage::Deploy if has_release_command => (RunState::ImagePushed, Some(Stage::ReleaseCommand)),
            // None that is recorded begins later.
            Stage::ReleaseCommand | Stage::Deploy | Stage::Smoke | Stage::GoLive | Stage::PublicSmoke => {
                (RunState::ImagePushed, Some(Stage::PushImage))
            }
        }
    }

    /// Tells whether the commit is laid out again although the checkout is behind the run: its files are built.
    pub fn needs_files(&self) -> bool {
        matches!(self.from, Stage::Build | Stage::PushImage)
    }
}

impl Origin {
    /// Returns the commit and the repository of what was started from source. None: it started from a release.
    pub fn source(&self) -> Option<(&Commit, &str)> {
        match self {
            Self::Push { commit, repository, .. } => Some((commit, repository)),
            Self::Rerun(rerun) => Some((&rerun.commit, &rerun.repository)),
            Self::Release { .. } | Self::Promotion { .. } => None,
        }
    }
}
