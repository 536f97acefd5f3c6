//! Which release of a lane somebody means, and whether it can still be deployed.

use super::lane::{Lane, Release};

/// The fewest digits that name a run, a commit or an image. Fewer are a slip of the hand.
const DIGITS_MIN: usize = 4;

/// How many releases a message lists.
const LISTED_MAX: usize = 8;

/// Why there is no such release. Each text goes on behind the name of the lane, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRelease {
    /// Nothing was live before what serves.
    #[error("has no former release to go back to; `landfall runs --app {app}` lists what was live")]
    NoFormer {
        /// The app.
        app: String,
    },
    /// Nothing is live.
    #[error("serves nothing")]
    NothingLive,
    /// It never was one, or so long ago that nobody remembers.
    #[error("has no release {wanted:?}: name one by its run, its commit or its digest. There are {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The releases that there are.
        known: String,
    },
    /// What was asked for can be several.
    #[error("has several releases that {wanted:?} can mean, so say more of it: {known}")]
    Several {
        /// What was asked for.
        wanted: String,
        /// The releases that it can be.
        known: String,
    },
    /// It is none of those whose images are kept.
    #[error(
        "keeps the {retain} releases before the live one (`[deploy] retain`), and {release} is older, so its image \
         may be gone: deploy its commit again"
    )]
    Beyond {
        /// The release.
        release: String,
        /// How many are kept.
        retain: usize,
    },
}

/// Returns the release that was live before the one that is.
///
/// # Errors
///
/// [`NoRelease::NoFormer`].
pub fn former<'a>(lane: &'a Lane, app: &str) -> Result<&'a Release, NoRelease> {
    lane.former.first().ok_or_else(|| NoRelease::NoFormer { app: app.to_owned() })
}

/// Returns the release that is meant by a run's id or either end of it, by the beginning of a commit's hash, or by
/// that of a digest.
///
/// # Errors
///
/// [`NoRelease`], with the releases that there are.
pub fn named<'a>(lane: &'a Lane, retain: usize, wanted: &str) -> Result<&'a Release, NoRelease> {
    let known = || lane.live.iter().chain(&lane.former);
    let meant: Vec<&Release> = known().filter(|release| is_meant(release, wanted)).collect();
    let wanted = wanted.to_owned();
    match meant.as_slice() {
        [] if lane.live.is_none() => Err(NoRelease::NothingLive),
        [] => Err(NoRelease::Unknown { wanted, known: listed(lane.retained(retain)) }),
        [one] if lane.retained(retain).any(|kept| kept.run == one.run) => Ok(one),
        [one] => Err(NoRelease::Beyond { release: in_words(one), retain }),
        several => Err(NoRelease::Several { wanted, known: listed(several.iter().copied()) }),
    }
}

fn is_meant(release: &Release, wanted: &str) -> bool {
    let digits: String = wanted.chars().filter(|char| *char != '-').collect::<String>().to_lowercase();
    if let Some(hex) = digits.strip_prefix("sha256:") {
        return hex.len() >= DIGITS_MIN
            && release.image.digest.strip_prefix("sha256:").is_some_and(|digest| digest.starts_with(hex));
    }
    let run = release.run.0.simple().to_string();
    let of_run = run.starts_with(&digits) || run.ends_with(&digits);
    digits.len() >= DIGITS_MIN && (of_run || release.commit.sha.starts_with(&digits))
}

fn listed<'a>(releases: impl Iterator<Item = &'a Release>) -> String {
    let listed: Vec<String> = releases.take(LISTED_MAX).map(in_words).collect();
    listed.join(", ")
}

fn in_words(release: &Release) -> String {
    let digest = crate::wording::short_digest(&release.image.digest);
    format!("run {} (commit {}, {digest})", release.run.short(), release.commit.short())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::core::event::Commit;
    use crate::core::facts::{Candidate, PushedImage};
    use crate::core::run::RunId;

    fn release(n: u8) -> Release {
        let digest = format!("sha256:{}", format!("{n:02x}d0").repeat(16));
        Release {
            run: RunId(Uuid::from_u128(0x018b_cfe5_6800_7000_8000_9f3e_1c2a_7b00 + u128::from(n))),
            commit: Commit { sha: format!("{n:02x}cafe").repeat(7), ..Commit::default() },
            image: PushedImage { repository: "127.0.0.1:5000/shop".into(), tag: "t".into(), digest },
            candidate: Candidate {
                container: format!("c{n}"),
                container_id: format!("id{n}"),
                address: ([127, 0, 0, 1], 20_000 + u16::from(n)).into(),
                healthy_after_ms: 1,
            },
            live_at_ms: 1,
        }
    }

    fn lane() -> Lane {
        Lane { live: Some(release(3)), former: vec![release(2), release(1)], ..Lane::default() }
    }

    #[track_caller]
    fn means(wanted: &str, n: u8) {
        assert_eq!(named(&lane(), 2, wanted), Ok(&release(n)), "{wanted}");
    }

    #[test]
    fn a_release_is_meant_by_its_run_its_commit_or_its_digest() {
        means("018bcfe5-6800-7000-8000-9f3e1c2a7b02", 2);
        means("9f3e1c2a7b01", 1);
        means("02CAFE02", 2);
        means("sha256:01d001d0", 1);
        means("03cafe", 3);
    }

    #[test]
    fn what_is_none_or_several_is_answered_with_what_there_is() {
        let refused = |wanted: &str| named(&lane(), 2, wanted).expect_err("refused").to_string();
        assert!(
            refused("beef")
                .contains("There are run 9f3e1c2a7b03 (commit 03cafe03cafe, sha256:03d003d003d0), run")
        );
        assert!(refused("018bcfe5").starts_with("has several releases that \"018bcfe5\" can mean"));
        assert!(refused("02c").contains("has no release \"02c\""));
        assert_eq!(named(&Lane::default(), 2, "beef"), Err(NoRelease::NothingLive));
    }

    #[test]
    fn a_release_whose_image_is_not_kept_is_refused() {
        let refused = named(&lane(), 1, "01cafe").expect_err("refused").to_string();
        assert!(refused.contains("and run 9f3e1c2a7b01 (commit 01cafe01cafe,"), "{refused}");
        assert!(refused.starts_with("keeps the 1 releases"), "{refused}");
    }
}
