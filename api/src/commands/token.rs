//! `landfall token`: who may ask the server for what.

use comfy_table::{Table, presets};

use super::installation::Installation;
use super::stdout;
use crate::cli::{Global, TokenCommand};
use crate::fault::Fault;
use crate::picture::text::harmless;
use crate::server::{TokenLine, TokenRequest, scope_name};

/// Creates, lists or revokes.
///
/// # Errors
///
/// [`Fault`], when it could not be done.
pub async fn run(global: &Global, command: TokenCommand) -> Result<u8, Fault> {
    let installation = Installation::open(global).await?;
    match command {
        TokenCommand::Create(args) => {
            let request = TokenRequest {
                label: args.label,
                scope: args.scope.into(),
                app: args.app,
                expires_in: args.expires_in,
            };
            let made = installation.create_token(request).await?;
            if args.json {
                stdout::json(&serde_json::json!({ "id": made.id, "token": made.token }))?;
                return Ok(0);
            }
            // Alone on its line, so that a script can take it.
            stdout::line(&made.token)?;
            super::world::said(&format!(
                "this is the only time it is shown; `landfall token revoke {}` takes it back",
                made.id
            ));
        }
        TokenCommand::List(args) => {
            let tokens = installation.tokens().await?;
            match (args.json, tokens.is_empty()) {
                (true, _) => tokens.iter().try_for_each(stdout::json)?,
                (false, true) => {
                    stdout::line("no tokens were handed out; `landfall token create` makes one")?
                }
                (false, false) => stdout::line(&table(&tokens))?,
            }
        }
        TokenCommand::Revoke(args) => {
            let tokens = installation.tokens().await?;
            let found: Vec<&TokenLine> = tokens
                .iter()
                .filter(|token| token.label == args.token || token.id.to_string() == args.token)
                .collect();
            match found.as_slice() {
                [one] => {
                    installation.revoke_token(one.id).await?;
                    if args.json {
                        stdout::json(&serde_json::json!({ "id": one.id, "revoked": true }))?;
                    }
                }
                [] => {
                    return Err(Fault::NotFound(format!(
                        "there is no token {:?}; `landfall token list` has them",
                        args.token
                    )));
                }
                several => {
                    let ids: Vec<String> = several.iter().map(|token| token.id.to_string()).collect();
                    let ids = ids.join(", ");
                    return Err(Fault::Usage(format!(
                        "several tokens are called {:?}: name one by its id, {ids}",
                        args.token
                    )));
                }
            }
        }
    }
    Ok(0)
}

fn table(tokens: &[TokenLine]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["LABEL", "SCOPE", "APP", "EXPIRES", "ID"]);
    for token in tokens {
        let expires = match &token.expires_at {
            Some(at) if token.expired => format!("{at}, expired"),
            Some(at) => at.clone(),
            None => "never".into(),
        };
        let app = token.app.clone().unwrap_or_else(|| "all".into());
        let scope = scope_name(token.scope).to_owned();
        table.add_row([harmless(&token.label), scope, app, expires, token.id.to_string()]);
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
