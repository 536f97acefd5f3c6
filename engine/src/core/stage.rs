//! The stages of a run, in the order in which they happen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One effect on the world that moves a run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Lays the pushed commit into a folder of its own and reads its configuration.
    Checkout,
    /// Runs the app's tests.
    Test,
    /// Builds the image.
    Build,
    /// Pushes the image to the registry and reads its digest back.
    PushImage,
    /// Runs the app's release command (migrations), once.
    ReleaseCommand,
    /// Starts the candidate beside the live version and waits until it is healthy.
    Deploy,
    /// Checks the candidate, which no user sees yet.
    Smoke,
    /// Switches the traffic to the candidate.
    GoLive,
    /// Checks the public address after the switch.
    PublicSmoke,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 9] = [
        Self::Checkout,
        Self::Test,
        Self::Build,
        Self::PushImage,
        Self::ReleaseCommand,
        Self::Deploy,
        Self::Smoke,
        Self::GoLive,
        Self::PublicSmoke,
    ];

    /// Returns the stored name, which is also the name in file names, labels and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Test => "test",
            Self::Build => "build",
            Self::PushImage => "push_image",
            Self::ReleaseCommand => "release_command",
            Self::Deploy => "deploy",
            Self::Smoke => "smoke",
            Self::GoLive => "go_live",
            Self::PublicSmoke => "public_smoke",
        }
    }

    /// Returns the stage as people speak of it: "the tests".
    pub const fn spoken(self) -> &'static str {
        match self {
            Self::Checkout => "the checkout",
            Self::Test => "the tests",
            Self::Build => "the build",
            Self::PushImage => "pushing the image",
            Self::ReleaseCommand => "the release command",
            Self::Deploy => "the deploy",
            Self::Smoke => "the smoke checks",
            Self::GoLive => "going live",
            Self::PublicSmoke => "the checks of the public address",
        }
    }

    /// Returns the stage of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// Tells whether a run needs its lane to itself in this stage.
    pub const fn needs_lane(self) -> bool {
        matches!(self, Self::ReleaseCommand | Self::Deploy | Self::Smoke | Self::GoLive | Self::PublicSmoke)
    }

    /// Tells whether red in this stage means rolling back: something of ours may be running.
    pub const fn is_from_deploy_on(self) -> bool {
        matches!(self, Self::Deploy | Self::Smoke | Self::GoLive | Self::PublicSmoke)
    }

    /// Tells whether a cancel may cut this stage short.
    ///
    /// A traffic switch and a migration are never cut in half: a cancel waits for their end.
    pub const fn is_interruptible(self) -> bool {
        !matches!(self, Self::GoLive | Self::ReleaseCommand)
    }

    /// Tells whether a person may skip this stage: no later one needs what it finds out.
    pub const fn is_skippable(self) -> bool {
        matches!(self, Self::Test | Self::ReleaseCommand | Self::Smoke | Self::PublicSmoke)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
