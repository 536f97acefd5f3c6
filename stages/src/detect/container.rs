//! What the app's own Dockerfile says of the port, and whether it says what serves.

use super::modules::Entry;
use super::source::Source;
use super::web::written_port;

/// What a Dockerfile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The port that the app listens on.
    pub(crate) port: Option<(u16, String)>,
    /// It has a command of its own.
    pub(crate) serves: bool,
}

/// Reads a Dockerfile as far as it is of use here.
pub(crate) fn read(source: &Source, file: &str, entry: Option<&Entry>) -> Said {
    let Some(text) = source.text(file) else { return Said::default() };
    let lines = instructions(&text);
    let of = |name: &'static str| {
        lines.iter().filter(move |(found, _)| found == name).map(|(_, rest)| rest.as_str())
    };
    let number = |text: &str| {
        text.split(['/', ' ', '-'])
            .next()
            .and_then(|number| number.parse::<u16>().ok())
            .filter(|port| *port > 0)
    };
    let command = of("CMD").chain(of("ENTRYPOINT")).map(plain).collect::<Vec<_>>().join(" ");
    let serves = !command.trim().is_empty();
    let variable = of("ENV").find_map(|rest| {
        rest.split_whitespace()
            .find_map(|pair| pair.strip_prefix("PORT="))
            .or(rest.strip_prefix("PORT "))
            .and_then(number)
    });
    // What the command itself says is what happens; EXPOSE is a note about it.
    if let Some(port) = written_port(&command) {
        return Said { port: Some((port, format!("{file} starts it with this port"))), serves };
    }
    if command.contains("PORT") {
        return Said { port: variable.map(|port| (port, format!("{file} sets PORT"))), serves };
    }
    if let Some(port) = of("EXPOSE").filter_map(number).next_back() {
        return Said { port: Some((port, format!("{file} exposes it"))), serves };
    }
    if let Some(port) = variable {
        return Said { port: Some((port, format!("{file} sets PORT"))), serves };
    }
    let runs_flask = command.contains("flask") && command.contains("run");
    let runs_file = command.contains("python") && command.contains(".py");
    let port = match (runs_flask, entry.and_then(|entry| entry.port)) {
        (true, _) => Some((5000, "Flask's own server listens on it".to_owned())),
        (false, Some(port)) if runs_file => {
            Some((port, "the file that the Dockerfile starts listens on it".to_owned()))
        }
        _ => None,
    };
    Said { port, serves }
}

/// Returns the instructions, each in one line.
fn instructions(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut found: Vec<(String, String)> = Vec::new();
    for line in lines {
        let Some((name, rest)) = line.split_once(char::is_whitespace) else { continue };
        let name = name.to_ascii_uppercase();
        // Only what the last stage says counts.
        if name == "FROM" {
            found.clear();
        }
        found.push((name, rest.trim().to_owned()));
    }
    found
}

/// Returns the words of `["gunicorn", "-b", …]`.
fn plain(command: &str) -> String {
    if command.starts_with('[') { command.replace(['[', ']', '"', ','], " ") } else { command.to_owned() }
}
