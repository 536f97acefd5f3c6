//! What a thousand readers of the event stream cost, half of which stand still: in memory, and in the appends of the
//! runs that go on meanwhile.
//!
//! ```text
//! this process: readers ──SSE──▶ a process of its own: server, engine, log on disk, stages that only pretend
//! ```
//!
//! `./run bench readers` prints the table. Every event is counted: the readers that read miss none, and those that
//! stood still are served what they missed, in order, once they read again.

mod pretend;
mod reader;
mod server;

use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use reader::Reader;

/// How many readers there are in each round.
const ROUNDS: [usize; 2] = [0, 1_000];
/// How long the runs go on in each round, unless said otherwise.
const SECONDS: u64 = 20;

/// What the server says of a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// How many events were recorded.
    pub(crate) events: u64,
    /// How long half of the appends took at most, in microseconds.
    pub(crate) append_p50_us: u64,
    /// How long all but one in a hundred took at most.
    pub(crate) append_p99_us: u64,
    /// Memory of the server, before the readers came and at the end, in KiB.
    pub(crate) rss_kib: (u64, u64),
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        return server::serve().await;
    }
    let seconds = first.map_or(Ok(SECONDS), |text| text.parse())?;
    raise_open_files();
    println!("readers  stalled  events  events/s  append p50  append p99   memory before   at the end");
    for count in ROUNDS {
        let figures = round(count, Duration::from_secs(seconds)).await?;
        let Figures { events, append_p50_us, append_p99_us, rss_kib: (before, after) } = figures;
        println!(
            "{count:>7}  {:>7}  {events:>6}  {:>8}  {:>7.2} ms  {:>7.2} ms  {:>8.1} MiB  {:>8.1} MiB",
            count / 2,
            events / seconds,
            ms(append_p50_us),
            ms(append_p99_us),
            mib(before),
            mib(after),
        );
    }
    Ok(())
}

/// Measures one round; every reader has every event at its end, in order, or it is an error.
async fn round(count: usize, time: Duration) -> Result<Figures, Box<dyn Error>> {
    let mut server = Served::start().await?;
    let (wanted, all) = watch::channel(0);
    let (mut reading, mut stalled) = (Vec::new(), Vec::new());
    for i in 0..count {
        let reader = Reader::connect(&server.address).await?;
        match i % 2 {
            0 => reading.push(tokio::spawn(reader.read(all.clone()))),
            _ => stalled.push(reader),
        }
    }
    server.say("go").await?;
    tokio::time::sleep(time).await;
    let figures: Figures = serde_json::from_str(&server.ask("stop").await?)?;
    wanted.send_replace(figures.events);
    // Now they read, too: the server has the rest from the log.
    reading.extend(stalled.into_iter().map(|reader| tokio::spawn(reader.read(all.clone()))));
    for reader in reading {
        reader.await?.map_err(|error| error.to_string())?;
    }
    server.say("end").await?;
    server.child.wait().await?;
    Ok(figures)
}

/// The server, in a process whose memory is its own.
struct Served {
    child: Child,
    says: tokio::io::Lines<BufReader<ChildStdout>>,
    hears: ChildStdin,
    address: String,
}

impl Served {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let hears = child.stdin.take().ok_or("the server has no stdin")?;
        let mut says = BufReader::new(child.stdout.take().ok_or("the server has no stdout")?).lines();
        let address = says.next_line().await?.ok_or("the server did not start")?;
        Ok(Self { child, says, hears, address })
    }

    async fn say(&mut self, word: &str) -> Result<(), Box<dyn Error>> {
        self.hears.write_all(format!("{word}\n").as_bytes()).await?;
        Ok(())
    }

    async fn ask(&mut self, word: &str) -> Result<String, Box<dyn Error>> {
        self.say(word).await?;
        Ok(self.says.next_line().await?.ok_or("the server has gone")?)
    }
}

/// Each reader is an open file, here and there.
pub(crate) fn raise_open_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        eprintln!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1_024.0
}
