//! `landfall completions` and `landfall man`: the command line, for shells and for `man`, from its own definition.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::stdout;
use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::fault::Fault;

/// Prints what a shell needs to complete our commands.
///
/// # Errors
///
/// [`Fault`] when stdout can't be written.
pub fn completions(args: &CompletionsArgs) -> Result<u8, Fault> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(&Cli::command()), "landfall", &mut script);
    stdout::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Returns the command line without what is hidden: a shell would offer it.
fn shown(cli: &Command) -> Command {
    let commands = cli.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("landfall")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(cli.get_arguments().cloned())
        .subcommands(commands.cloned())
}

/// Prints the first page of the manual, or writes all pages into a folder.
///
/// # Errors
///
/// [`Fault`] when the folder or stdout can't be written.
pub fn man(args: &ManArgs) -> Result<u8, Fault> {
    let mut command = Cli::command();
    // Options of every command get to the commands, and each command learns its whole name.
    command.build();
    match &args.folder {
        None => {
            stdout::print(&page(command).map_err(|error| Fault::io("could not write the manual", error))?)?
        }
        Some(folder) => {
            let failed =
                |error| Fault::io(&format!("could not write the manual into {}", folder.display()), error);
            std::fs::create_dir_all(folder).map_err(failed)?;
            write_pages(folder, command, "landfall".into()).map_err(failed)?;
        }
    }
    Ok(0)
}

/// Writes the page of a command, and of those below it that are shown.
fn write_pages(folder: &Path, command: Command, name: String) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(folder, below.clone(), format!("{name}-{}", below.get_name()))?;
    }
    std::fs::write(folder.join(format!("{name}.1")), page(command)?)
}

fn page(command: Command) -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(command).manual("Landfall").render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
