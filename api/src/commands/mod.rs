//! What each command does. Reading goes through [`source`], changing through [`world`].

pub mod app;
pub mod backup;
pub mod control;
pub mod decide;
pub mod export;
pub mod feed;
pub mod follow;
pub mod hook;
pub mod ids;
pub mod init;
pub mod installation;
pub mod ledger;
pub mod logs;
pub mod parked;
pub mod proxy;
pub mod prune;
pub mod replay;
pub mod restore;
pub mod rollback;
pub mod run;
pub mod runs;
pub mod secret;
pub mod serve;
pub mod show;
pub mod source;
pub mod stdout;
pub mod target;
pub mod telling;
pub mod through;
pub mod token;
pub mod verify;
pub mod version;
pub mod world;

use decide::Request;
use landfall_engine::core::event::Decision;

use crate::cli::{Cli, Command};
use crate::fault::Fault;

/// Does what was asked and returns the exit code.
///
/// # Errors
///
/// [`Fault`], when it could not be done.
pub async fn dispatch(cli: Cli) -> Result<u8, Fault> {
    let Cli { global, command } = cli;
    match command {
        Command::Run(args) => run::run(&global, args).await,
        Command::Init(args) => init::run(args),
        Command::Serve(args) => serve::run(&global, *args).await,
        Command::Hook(args) => hook::run(args),
        Command::Runs(args) => runs::run(&global, args).await,
        Command::Show(args) => show::run(&global, args).await,
        Command::Logs(args) => logs::run(&global, args).await,
        Command::Replay(args) => replay::run(&global, args).await,
        Command::Verify(args) => verify::run(&global, args).await,
        Command::Export(args) => export::run(&global, args).await,
        Command::Cancel(args) => {
            decide::run(&global, &args.world, &args.run, Request::Cancel(args.reason)).await
        }
        Command::Retry(args) => match args.from {
            Some(from) => control::rerun(&global, args, from).await,
            None => decide::run(&global, &args.world, &args.run, Request::Resolve(Decision::Retry)).await,
        },
        Command::Approve(args) => decide::run(&global, &args.world, &args.run, Request::Approve).await,
        Command::Reject(args) => {
            decide::run(&global, &args.world, &args.run, Request::Reject(args.reason)).await
        }
        Command::Promote(args) => control::promote(&global, args).await,
        Command::Pause(args) => control::pause(&global, args).await,
        Command::Resume(args) => control::resume(&global, args).await,
        Command::Hold(args) => control::hold(&global, args).await,
        Command::Release(args) => control::release(&global, args).await,
        Command::Skip(args) => {
            let decision = Decision::Skip { reason: args.reason };
            decide::run(&global, &args.world, &args.run, Request::Resolve(decision)).await
        }
        Command::Abort(args) => {
            let decision = Decision::Abort { reason: args.reason };
            decide::run(&global, &args.world, &args.run, Request::Resolve(decision)).await
        }
        Command::Rollback(args) => rollback::run(&global, args).await,
        Command::App(args) => app::run(&global, args.command).await,
        Command::Token(args) => token::run(&global, args.command).await,
        Command::Ledger(args) => ledger::run(&global, args).await,
        Command::Secret(args) => secret::run(&global, args).await,
        Command::Prune(args) => prune::run(&global, args).await,
        Command::Backup(args) => backup::run(&global, args).await,
        Command::Restore(args) => restore::run(&global, args).await,
        Command::Proxy(args) => proxy::run(args).await,
        Command::Version(args) => version::run(args).await,
    }
}
