//! The server that a file starts by itself: `app.run()`, `socketio.run(app)`, `serve(app)`.

use super::python::{self, Block, Statement};

/// What a file starts by itself.
#[derive(Default)]
pub(crate) struct OwnServer {
    /// When the module is imported.
    pub(crate) at_import: bool,
    /// When the module is imported, and by other means than `app.run()`, which Flask can be kept from.
    pub(crate) socketio_at_import: bool,
    /// Somewhere in the file.
    pub(crate) in_main: bool,
    /// It listens to others than its own machine.
    pub(crate) to_all: bool,
    /// Where it listens, as far as that is a number.
    pub(crate) port: Option<u16>,
}

/// Returns what the statements start.
pub(crate) fn own_server(statements: &[Statement]) -> OwnServer {
    let mut server = OwnServer::default();
    for statement in statements {
        // `build().run(port=80)` as well as `app.run(port=80)`.
        let of_call = statement.text.split_once(").run(").filter(|_| statement.within.contains(&Block::Main));
        let Some((callee, rest)) = of_call.or_else(|| statement.text.split_once('(')) else { continue };
        let callee = callee.trim();
        let runs = of_call.is_some()
            || callee.strip_suffix(".run").is_some_and(|name| {
                name.ends_with("app")
                    || name.ends_with("application")
                    || name.contains("socket")
                    || name == "server"
                    || name == "sio"
            });
        let serves = matches!(callee, "serve" | "waitress.serve" | "run_simple");
        if !runs && !serves {
            continue;
        }
        let is_at_import = statement.is_at_import();
        server.at_import |= is_at_import && runs;
        server.socketio_at_import |=
            is_at_import && (callee.contains("socket") || callee.contains("sio") || serves);
        server.in_main = true;
        server.to_all |= rest.contains("0.0.0.0") || rest.contains("'::'");
        let port = python::arguments(rest).into_iter().find_map(|argument| argument.strip_prefix("port"));
        let digits: Option<String> = port.map(|port| port.chars().filter(char::is_ascii_digit).collect());
        let is_number = port.is_some_and(|port| {
            port.trim_start().trim_start_matches('=').trim().starts_with(|c: char| c.is_ascii_digit())
        });
        server.port = server.port.or(digits.filter(|_| is_number).and_then(|digits| digits.parse().ok()));
        // Flask's own.
        server.port = server.port.or((port.is_none() && runs).then_some(5000));
    }
    server
}
