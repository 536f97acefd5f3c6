//! How people name a run: by its whole id, by either end of it, or as `last`.

use landfall_engine::core::run::RunId;

use crate::fault::Fault;

/// The fewest digits by which a run is named. Fewer are a slip of the hand sooner than a name.
const DIGITS_MIN: usize = 4;

/// How many runs are listed when a name fits several.
const LISTED_MAX: usize = 5;

/// What somebody typed for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunName {
    /// The newest.
    Last,
    /// Its whole id.
    Whole(RunId),
    /// Hex digits from the beginning or the end of its id.
    Part(String),
}

impl RunName {
    /// Reads what was typed.
    ///
    /// # Errors
    ///
    /// [`Fault::Usage`] when it can't be the name of a run.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text == "last" {
            return Ok(Self::Last);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Whole(id));
        }
        let digits: String = text.chars().filter(|char| *char != '-').collect::<String>().to_lowercase();
        let is_part = digits.len() >= DIGITS_MIN && digits.chars().all(|char| char.is_ascii_hexdigit());
        if !is_part {
            return Err(Fault::Usage(format!(
                "expected a run: its id, at least {DIGITS_MIN} digits from either end of it, or `last`; found {text:?}"
            )));
        }
        Ok(Self::Part(digits))
    }
}

/// Returns the one run whose id begins or ends with these digits.
///
/// # Errors
///
/// [`Fault::NotFound`] when there is none, [`Fault::Usage`] when there are several.
pub fn pick(digits: &str, runs: impl IntoIterator<Item = RunId>) -> Result<RunId, Fault> {
    let fits = |id: &RunId| {
        let id = id.0.simple().to_string();
        id.starts_with(digits) || id.ends_with(digits)
    };
    let found: Vec<RunId> = runs.into_iter().filter(fits).collect();
    match found.as_slice() {
        [] => Err(Fault::NotFound(format!("there is no run {digits}; `landfall runs` lists what there is"))),
        [one] => Ok(*one),
        several => {
            let listed: Vec<String> = several.iter().take(LISTED_MAX).map(RunId::to_string).collect();
            let more = if several.len() > LISTED_MAX { ", …" } else { "" };
            Err(Fault::Usage(format!(
                "{digits} fits {} runs, so say more of it: {}{more}",
                several.len(),
                listed.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "018bcfe5-6800-7000-8000-9f3e1c2a7b4d";
    const OTHER: &str = "018bcfe5-6801-7000-8000-aaaa1c2a7b4d";

    fn picked(text: &str) -> Result<String, u8> {
        let runs = || [ONE, OTHER].map(|id| id.parse::<RunId>().unwrap());
        let name = RunName::parse(text).map_err(|fault| fault.code())?;
        match name {
            RunName::Last => Ok("last".into()),
            RunName::Whole(id) => Ok(id.to_string()),
            RunName::Part(digits) => {
                pick(&digits, runs()).map(|id| id.to_string()).map_err(|fault| fault.code())
            }
        }
    }

    #[test]
    fn a_run_is_named_by_its_id_its_short_form_either_end_or_last() {
        assert_eq!(picked("last"), Ok("last".into()));
        assert_eq!(picked(ONE), Ok(ONE.into()));
        assert_eq!(picked("9f3e1c2a7b4d"), Ok(ONE.into()));
        assert_eq!(picked("018BCFE5-6801"), Ok(OTHER.into()));
    }

    #[test]
    fn an_end_that_several_runs_share_names_none_of_them() {
        assert_eq!(picked("018bcfe5"), Err(64));
        assert_eq!(picked("1c2a7b4d"), Err(64));
    }

    #[test]
    fn what_is_no_run_is_refused() {
        assert_eq!(picked("beef0000"), Err(66));
        assert_eq!(picked("abc"), Err(64));
        assert_eq!(picked("../../etc"), Err(64));
        assert_eq!(picked(""), Err(64));
    }
}
