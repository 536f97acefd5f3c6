//! How much a data folder's engine takes on, as it is asked for on the command line and in the environment.
//!
//! The reasons for the numbers stand with [`Limits`] and [`Options`]; this is only how they are written.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Parser};
use landfall_engine::Limits;
use landfall_store::Options;

use crate::fault::Fault;

/// What is beyond a limit is refused or parked, with the reason.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Open runs of all apps; pushes beyond are refused.
    #[arg(long, env = "LANDFALL_OPEN_RUNS_MAX", value_name = "N", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().open_runs_max, value_parser = at_least_one)]
    pub open_runs_max: usize,
    /// Open runs of one app and environment; pushes beyond are refused.
    #[arg(long, env = "LANDFALL_LANE_RUNS_MAX", value_name = "N", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().lane_runs_max, value_parser = at_least_one)]
    pub lane_runs_max: usize,
    /// Events of one run; a run that has more begins no more stages, and waits for a person.
    #[arg(long, env = "LANDFALL_RUN_EVENTS_MAX", value_name = "N", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().run_events_max, value_parser = clap::value_parser!(u64).range(50..))]
    pub run_events_max: u64,
    /// What one attempt at a stage may print; the rest is dropped.
    #[arg(long, env = "LANDFALL_OUTPUT_MAX", value_name = "SIZE", hide_env_values = true)]
    #[arg(default_value_t = Size(Options::default().output_bytes_max))]
    pub output_max: Size,
    /// Pushes are refused while less than this is free on the data folder's disk.
    #[arg(long, env = "LANDFALL_DISK_LOW", value_name = "SIZE", hide_env_values = true)]
    #[arg(default_value_t = Size(Options::default().disk_low_bytes))]
    pub disk_low: Size,
    /// Set aside in DATA/reserve, for recording what runs when the disk is full.
    #[arg(long, env = "LANDFALL_RESERVE", value_name = "SIZE", hide_env_values = true)]
    #[arg(default_value_t = Size(Options::default().reserve_bytes))]
    pub reserve: Size,
}

/// A number of bytes: `4096`, `64KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Units, largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = UNITS
            .into_iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
            .unwrap_or((text, 1));
        let bytes = number.trim().parse().ok().and_then(|number: u64| number.checked_mul(unit));
        bytes.map(Self).ok_or_else(|| "expected a number of bytes, such as 4096, 64KiB, 16MiB or 1GiB".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.into_iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl LimitArgs {
    /// Returns the limits that the environment sets, for commands that have no flags for them.
    ///
    /// # Errors
    ///
    /// [`Fault::Usage`] when a variable holds something else.
    pub fn from_environment() -> Result<Self, Fault> {
        #[derive(Parser)]
        struct Environment {
            #[command(flatten)]
            limits: LimitArgs,
        }
        let parsed = Environment::try_parse_from(["landfall"]);
        Ok(parsed.map_err(|error| Fault::Usage(first_paragraph(&error)))?.limits)
    }

    /// Returns the limits of the engine.
    pub const fn engine(&self) -> Limits {
        Limits {
            open_runs_max: self.open_runs_max,
            lane_runs_max: self.lane_runs_max,
            run_events_max: self.run_events_max,
        }
    }

    /// Returns how the data folder is kept.
    pub fn store(&self) -> Options {
        Options {
            output_bytes_max: self.output_max.0,
            disk_low_bytes: self.disk_low.0,
            reserve_bytes: self.reserve.0,
            ..Options::default()
        }
    }
}

/// What follows is about flags, which were not used.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number from 1 on".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [("4096", 4_096), ("64KiB", 65_536), ("16MiB", 16 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
            assert_eq!(text.parse::<Size>().unwrap().to_string().parse(), Ok(Size(bytes)));
        }
        assert_eq!(Size(1_500).to_string(), "1500");
        for text in ["", "MiB", "-1", "1.5GiB", "16 mb", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn nobody_who_says_nothing_gets_other_limits_than_the_library() {
        let limits = LimitArgs::from_environment().unwrap();
        assert_eq!(limits.engine(), Limits::default());
        let (asked, default) = (limits.store(), Options::default());
        assert_eq!(format!("{asked:?}"), format!("{default:?}"));
    }
}
