//! `landfall app`: what apps there are, and where their commits come from.

use std::collections::BTreeMap;

use super::installation::Installation;
use super::stdout;
use super::target::checked;
use super::world::said;
use crate::cli::{AppAddArgs, AppCommand, Global};
use crate::fault::Fault;
use crate::server::{AppRequest, ForgeRequest};

/// Adds, lists, shows or removes.
///
/// # Errors
///
/// [`Fault`], when it could not be done.
pub async fn run(global: &Global, command: AppCommand) -> Result<u8, Fault> {
    let installation = Installation::open(global).await?;
    match command {
        AppCommand::Add(args) => {
            let (app, json) = (checked("app", &args.app)?, args.json);
            let request = request_of(*args)?;
            let is_fetched = request.git.is_some();
            let forge = request.forge.as_ref().map_or("FORGE", |forge| forge.kind.name());
            let secret = request.webhook_secret.clone().unwrap_or_else(|| "WEBHOOK_SECRET".into());
            installation.register(&app, request).await?;
            match json {
                true => stdout::json(&serde_json::json!({ "app": app, "registered": true }))?,
                false => stdout::line(&format!("{app} is registered"))?,
            }
            if is_fetched && !json {
                said(&format!(
                    "next: `landfall secret set {app} {secret}`, and a webhook at the forge to \
                     POST /v1/hooks/{forge}/{app}, of the type application/json, signed with that secret"
                ));
            }
        }
        AppCommand::List(args) => {
            let apps = installation.apps().await?;
            match (args.json, apps.is_empty()) {
                (true, _) => {
                    apps.iter().try_for_each(|(app, known)| {
                        stdout::json(&serde_json::json!({ "app": app, "registration": known }))
                    })?;
                }
                (false, true) => {
                    stdout::line("no app is registered; one that is pushed needs no registration")?;
                }
                (false, false) => {
                    for (app, known) in &apps {
                        stdout::line(&format!(
                            "{app}  {}",
                            known.git.as_deref().unwrap_or("pushed to this server")
                        ))?;
                    }
                }
            }
        }
        AppCommand::Show(args) => match installation.app(&args.app).await? {
            Some(known) => stdout::json(&known)?,
            None => return Err(Fault::NotFound(format!("the app {} is not registered", args.app))),
        },
        AppCommand::Rm(args) => {
            installation.remove_app(&args.app).await?;
            match args.json {
                true => stdout::json(&serde_json::json!({ "app": args.app, "registered": false }))?,
                false => stdout::line(&format!(
                    "{} is not registered any more; what it serves goes on serving",
                    args.app
                ))?,
            }
        }
    }
    Ok(0)
}

fn request_of(args: AppAddArgs) -> Result<AppRequest, Fault> {
    let AppAddArgs { git, credential, branches, tags, paths, poll, webhook_secret, forge, .. } = args;
    let forge = match (forge.forge, forge.forge_api, forge.project, forge.forge_token) {
        (Some(kind), Some(api), Some(project), Some(token)) => {
            Some(ForgeRequest { kind: kind.into(), api, project, token })
        }
        // clap asks for all of them or none.
        _ => None,
    };
    let (branches, tags) = (by_pattern(branches), by_pattern(tags));
    let request = AppRequest { git, credential, branches, tags, paths, poll, webhook_secret, forge };
    // What can't be is said before a server is asked.
    match request.clone().registration() {
        Ok(_) => Ok(request),
        Err(error) => Err(Fault::Usage(error.problem().detail)),
    }
}

/// Reads `PATTERN=ENV`; production where no environment is named.
fn by_pattern(given: Vec<String>) -> BTreeMap<String, String> {
    let pair = |given: String| match given.rsplit_once('=') {
        Some((pattern, env)) => (pattern.to_owned(), env.to_owned()),
        None => (given, "production".into()),
    };
    given.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_an_environment_goes_to_production() {
        let read = by_pattern(vec!["main".into(), "release/*=staging".into()]);
        let expected = [("main", "production"), ("release/*", "staging")];
        assert_eq!(read, expected.map(|(pattern, env)| (pattern.to_owned(), env.to_owned())).into());
    }
}
