//! Results go to stdout, and a reader that hangs up (`| head`) is a reader that has seen enough.

use std::io::Write;

use serde::Serialize;

use crate::fault::Fault;

/// Prints text as it is.
///
/// # Errors
///
/// [`Fault::HungUp`] when nobody reads any more; [`Fault::Unavailable`] when the disk refused.
pub fn print(text: &str) -> Result<(), Fault> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Fault::io("could not write to stdout", error))
}

/// Prints a line.
///
/// # Errors
///
/// See [`print`].
pub fn line(text: &str) -> Result<(), Fault> {
    print(&format!("{text}\n"))
}

/// Prints a value as one line of JSON.
///
/// # Errors
///
/// See [`print`].
pub fn json(value: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string(value)
        .map_err(|error| Fault::unavailable("could not write this as JSON", error))?;
    line(&text)
}
