//! The terminal: where frames are drawn over each other, on stderr, so that stdout stays for results.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

use super::frame::{Size, draw};
use super::model::Picture;
use super::text::Line;

/// Frames a second. The picture is drawn more often than anything in it changes to the eye.
const FRAMES_HZ: u8 = 15;

/// What is assumed of a terminal that does not say.
const USUAL: Size = Size { width: 80, height: 24 };

/// The frame that is on the screen now, so that log lines are written above it and not through it.
static ON_SCREEN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A live picture on a terminal.
#[derive(Debug)]
pub struct Screen {
    bar: ProgressBar,
    colour: bool,
    /// Put back when the picture is gone.
    _quiet: Option<Quiet>,
}

impl Screen {
    /// Returns the screen, or None where a picture can't be drawn: stderr is no terminal, or a dumb one, or
    /// somebody else's while we are in the background.
    pub fn open() -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let in_background = tcgetpgrp(io::stderr()).is_ok_and(|group| group != getpgrp());
        if is_dumb || in_background || !io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(FRAMES_HZ));
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is a constant"));
        *on_screen() = Some(bar.clone());
        Some(Self { bar, colour: colour_on(&io::stderr()), _quiet: Quiet::begin() })
    }

    /// Draws the picture over the one before.
    pub fn show(&self, picture: &Picture, now_ms: u64) {
        let lines = draw(picture, now_ms, size_of_stderr());
        self.bar.set_message(text(&lines, self.colour));
        self.bar.tick();
    }

    /// Says something above the picture.
    pub fn say(&self, message: &str) {
        self.bar.suspend(|| say(message));
    }

    /// Leaves the last picture on the terminal.
    pub fn close(self, picture: &Picture, now_ms: u64) {
        on_screen().take();
        self.bar.finish_and_clear();
        let lines = draw(picture, now_ms, Size { height: USUAL.height, ..size_of_stderr() });
        say(&format!("{}\n", text(&lines, self.colour)));
    }
}

/// Says something on stderr. Nobody who reads it is no reason to stop.
pub fn say(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Keeps the terminal from echoing keys into the picture, which would then be cleared one line short.
#[derive(Debug)]
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stderr()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stderr(), OptionalActions::Now, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = tcsetattr(io::stderr(), OptionalActions::Now, &self.0);
    }
}

/// Tells whether text for this stream is coloured: it is a terminal, and nobody asked for none.
pub fn colour_on<S: anstream::stream::RawStream>(stream: &S) -> bool {
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}

/// Returns lines as one text.
pub fn text(lines: &[Line], colour: bool) -> String {
    lines.iter().map(|line| line.paint(colour)).collect::<Vec<_>>().join("\n")
}

/// Returns the width of stdout in columns: a terminal's own, else what `COLUMNS` says, else wide enough for tables.
pub fn width_of_stdout() -> usize {
    const WIDE: usize = 120;
    let told = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    size_of(io::stdout()).map(|size| size.width).or_else(told).unwrap_or(WIDE)
}

fn size_of_stderr() -> Size {
    size_of(io::stderr()).unwrap_or(USUAL)
}

fn size_of(stream: impl std::os::fd::AsFd) -> Option<Size> {
    let size = tcgetwinsize(stream).ok()?;
    (size.ws_col > 0 && size.ws_row > 0)
        .then(|| Size { width: usize::from(size.ws_col), height: usize::from(size.ws_row) })
}

fn on_screen() -> MutexGuard<'static, Option<ProgressBar>> {
    ON_SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard error for log lines, written above a live picture when there is one.
#[derive(Clone, Copy, Debug)]
pub struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bar = on_screen().clone();
        match bar {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
