//! `landfall.toml`: from text to [`Settings`], with every default filled in.
//!
//! ```text
//! landfall.toml ─┐
//!                ├─▶ the one that is there ─▶ toml with places ─▶ shape ─▶ Settings
//! pyproject.toml ┘                                                  └────▶ every problem, with its line
//! ```
//!
//! **Invariant:** an app is never deployed by half a configuration: one problem, and there are no settings.

mod environments;
mod guessed;
mod problem;
mod section;
mod shape;
mod source;
mod values;

use landfall_engine::core::settings::Settings;
use toml::de::DeTable;

pub use guessed::Configured;
pub use guessed::Initial;
pub use guessed::initial;
pub use guessed::read_and_guess;
pub use problem::ConfigError;
pub use problem::Problem;
pub use source::read_at_checkout;
pub use source::read_at_commit;

pub(crate) use section::nearest;

use section::Section;

/// The name of the file at the app's root.
pub const CONFIG_FILE: &str = "landfall.toml";
/// The other place: `[tool.landfall]` in here.
pub const PYPROJECT_FILE: &str = "pyproject.toml";

/// Returns the settings in the text of `landfall.toml`, or of `pyproject.toml` when `file` ends so.
///
/// # Errors
///
/// [`ConfigError`] has every problem of the file, each with its place.
pub fn parse(text: &str, file: &str, app: &str) -> Result<Settings, ConfigError> {
    parse_over(text, file, app, Settings::default())
}

/// Returns the settings in a text; what it does not say is as in `base`.
fn parse_over(text: &str, file: &str, app: &str, base: Settings) -> Result<Settings, ConfigError> {
    let (document, wrong) = DeTable::parse_recoverable(text);
    if !wrong.is_empty() {
        return Err(ConfigError::new(
            file,
            text,
            wrong.iter().map(|error| Problem::syntax(text, error)).collect(),
        ));
    }
    let problems = section::Problems::default();
    let mut top = Section::top(document.get_ref(), &problems);
    let settings = if file.ends_with(PYPROJECT_FILE) {
        shape::settings(top.section("tool").section("landfall"), app, base)
    } else {
        shape::settings(top, app, base)
    };
    problems_of_size(&settings).into_iter().for_each(|problem| problems.add(problem));
    match problems.take() {
        none if none.is_empty() => Ok(settings),
        problems => Err(ConfigError::new(file, text, problems)),
    }
}

/// The settings are stored with every run, in an event that holds twice this.
const SETTINGS_BYTES_MAX: usize = 32 * 1024;

fn problems_of_size(settings: &Settings) -> Option<Problem> {
    let bytes = serde_json::to_vec(settings).map_or(0, |json| json.len());
    (bytes > SETTINGS_BYTES_MAX).then(|| {
        Problem::of_file(format!(
            "expected settings of at most {SETTINGS_BYTES_MAX} bytes, found {bytes}: every run records them; move \
             what is large (the `json` of a check, build args) into files of the app"
        ))
    })
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
