//! What a server tells by itself, beside answering: forges how runs stand, and ops that the disk is low.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use landfall_engine::ports::SystemClock;
use landfall_stages::notify::Channel;
use reqwest::Url;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::world::said;
use crate::compose::Landfall;
use crate::disk_watch::DiskWatch;
use crate::fault::Fault;
use crate::statuses::{Pace, Parts, Statuses};

/// Who is told what.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct TellingArgs {
    /// Who is told that the disk is low: slack:SECRET, discord:SECRET, teams:SECRET, webhook:SECRET[:SIGNING_SECRET] or
    /// email:ADDRESS, where SECRET is the name of the secret with the URL. May be given more than once.
    // Read as it is: what is written by mistake in the place of a secret's name is not quoted.
    #[arg(long, env = "LANDFALL_OPS", value_name = "CHANNEL", value_delimiter = ',', hide_env_values = true)]
    pub ops: Vec<String>,
    /// Where people reach this server; forges link to it. Default: they link nowhere.
    #[arg(long, env = "LANDFALL_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub public_url: Option<String>,
}

impl TellingArgs {
    /// Checks what the command line could not be told to check.
    ///
    /// # Errors
    ///
    /// [`Fault::Usage`], which quotes no channel.
    pub fn check(&self) -> Result<(), Fault> {
        for (nth, channel) in self.ops.iter().enumerate() {
            let wrong = match Channel::parse(channel) {
                Ok(Channel::Author) => "the server's own notices have no author: name an address".to_owned(),
                Ok(_) => continue,
                Err(wrong) => format!("{wrong}; {}", wrong.help()),
            };
            return Err(Fault::Usage(format!("--ops no. {} can't be used: {wrong}", nth + 1)));
        }
        Ok(())
    }
}

fn public_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let is_plain = |url: &Url| url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    match url.filter(is_plain) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("expected an address such as https://landfall.example.com".into()),
    }
}

/// What is told goes on until the server stops.
#[derive(Debug)]
pub(super) struct Telling {
    statuses: Statuses,
    watching: TaskTracker,
}

impl Telling {
    pub(super) async fn begin(
        landfall: &Landfall,
        data: &Path,
        args: &TellingArgs,
        stop: &CancellationToken,
    ) -> Self {
        for channel in &args.ops {
            if let Some(objection) = landfall.notifier.objection(channel) {
                said(&format!("warning: ops can't be told by {channel}: {objection}"));
            }
        }
        let store = landfall.engine.store();
        let watch = DiskWatch {
            store: Arc::clone(store),
            notifier: landfall.notifier.clone(),
            channels: args.ops.clone(),
            data: data.to_owned(),
            server: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let watching = TaskTracker::new();
        watching.spawn(watch.watch(stop.clone()));
        let statuses = Statuses::start(Parts {
            store: Arc::clone(store),
            ledger: landfall.engine.ledger(),
            forges: landfall.forges.clone(),
            clock: Arc::new(SystemClock),
            data: data.to_owned(),
            public_url: args.public_url.clone(),
            pace: Pace::default(),
            stop: stop.clone(),
        });
        Self { statuses: statuses.await, watching }
    }

    pub(super) fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Waits until all has ended that the server's stop ends.
    pub(super) async fn finished(&self) {
        self.watching.close();
        self.watching.wait().await;
        self.statuses.finished().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_the_place_of_a_channel_is_refused_and_not_quoted() {
        let args = |ops: &[&str]| TellingArgs {
            ops: ops.iter().map(|channel| (*channel).to_owned()).collect(),
            ..TellingArgs::default()
        };
        args(&["slack:OPS", "webhook:OPS:KEY", "email:ops@example.com"]).check().unwrap();
        for bad in ["https://hooks.slack.com/services/T0/B0/XYZ", "email:author"] {
            let refused = args(&["slack:OPS", bad]).check().unwrap_err();
            let text = format!("{refused} {refused:?}");
            assert!(text.contains("--ops no. 2") && !text.contains("XYZ"), "{text}");
        }
    }

    #[test]
    fn a_public_url_is_an_address_and_nothing_more() {
        assert_eq!(public_url("https://landfall.example.com/").unwrap(), "https://landfall.example.com");
        assert_eq!(public_url("http://10.0.0.1:7070/ci").unwrap(), "http://10.0.0.1:7070/ci");
        for bad in ["landfall.example.com", "ftp://x", "https://u:p@x/", "https://x/?a=1", "https://x/#a", ""]
        {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }
}
