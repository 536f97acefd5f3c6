//! `landfall help`: a command as clap explains it, or a page of `api/docs`.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};

use super::stdout;
use crate::cli::{Cli, HelpArgs};
use crate::fault::Fault;
use crate::picture::screen::{text, width_of_stdout};
use crate::topics::{self, TOPICS, Topic};

/// Longer lines are hard to read, however wide the terminal is.
const COLUMNS_MAX: usize = 100;

/// Prints what is known about a name.
///
/// # Errors
///
/// [`Fault::Usage`] when there is nothing of that name, with what may have been meant.
pub fn run(args: &HelpArgs) -> Result<u8, Fault> {
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    match names[..] {
        [] => stdout::print(&overview())?,
        [name] if topics::named(name).is_some() => topics::named(name).map_or(Ok(()), page)?,
        ref names => stdout::print(&of_command(names)?)?,
    }
    Ok(0)
}

/// Prints a page. What is no terminal, such as `less` behind a pipe, gets no colour unless it is asked for.
fn page(topic: &Topic) -> Result<(), Fault> {
    let lines = topics::render(topic.text, width_of_stdout().min(COLUMNS_MAX));
    stdout::line(&text(&lines, true))
}

fn overview() -> String {
    let widest = TOPICS.iter().map(|topic| topic.name.len()).max().unwrap_or(0);
    let topics: String =
        TOPICS.iter().map(|topic| format!("  {:widest$}  {}\n", topic.name, topic.about)).collect();
    let commands = Cli::command().render_long_help();
    format!("{}\nTopics:\n{topics}\n`landfall help NAME` explains a command or a topic.\n", commands.ansi())
}

fn of_command(names: &[&str]) -> Result<String, Fault> {
    let mut root = Cli::command();
    // What holds for every command is told with each only once it is built.
    root.build();
    let mut command = &mut root;
    for (nth, name) in names.iter().enumerate() {
        let unknown = || unknown(command_line(&names[..nth]), name);
        if !command.get_subcommands().any(|known| known.get_name() == *name) {
            return Err(unknown());
        }
        command = command.find_subcommand_mut(name).ok_or_else(unknown)?;
    }
    Ok(command.render_long_help().ansi().to_string())
}

fn command_line(names: &[&str]) -> Vec<String> {
    ["landfall"].iter().chain(names).map(|name| (*name).to_owned()).collect()
}

fn unknown(before: Vec<String>, name: &str) -> Fault {
    let is_first = before.len() == 1;
    let what =
        if is_first { "command or topic".to_owned() } else { format!("command of `{}`", before.join(" ")) };
    let meant = nearest(before, name).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    Fault::Usage(format!("there is no {what} of the name {name:?}; {meant}`landfall help` lists them all"))
}

/// Returns the name that was probably meant: clap's own judgement, with the topics among the commands.
fn nearest(before: Vec<String>, name: &str) -> Option<String> {
    let known = TOPICS.iter().map(|topic| clap::Command::new(topic.name));
    let words = before.into_iter().chain([name.to_owned()]);
    let error = Cli::command().subcommands(known).try_get_matches_from(words).err()?;
    match error.get(ContextKind::SuggestedSubcommand)? {
        ContextValue::String(near) => Some(near.clone()),
        ContextValue::Strings(near) => near.first().cloned(),
        _ => None,
    }
}
