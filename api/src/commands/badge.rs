//! `landfall badge`: the Markdown that shows an app's badge in a README.

use serde_json::json;

use super::installation::Installation;
use super::stdout;
use super::target::checked;
use super::world::said;
use crate::cli::{BadgeArgs, Global};
use crate::client::badge_path;
use crate::fault::Fault;

/// Prints the Markdown, and says when a README could not show it.
///
/// # Errors
///
/// [`Fault::Usage`] when no server is known: a badge is a picture that a server draws.
pub async fn run(global: &Global, args: BadgeArgs) -> Result<u8, Fault> {
    let (app, env) = (checked("app", &args.app)?, checked("environment", &args.env)?);
    let Installation::Server(client) = Installation::open(global).await? else {
        return Err(Fault::Usage(
            "a badge is drawn by a server: name it by its public address, `--server https://HOST`".into(),
        ));
    };
    let url = format!("{}{}", client.url(), badge_path(&app, &env, args.branch.as_deref()));
    let markdown = format!("![{app}: what is live]({url})");
    let is_open = client.app(&app).await?.registration.unwrap_or_default().public_badge;
    if args.json {
        stdout::line(&json!({ "url": url, "markdown": markdown, "open": is_open }).to_string())?;
        return Ok(0);
    }
    stdout::line(&markdown)?;
    if !is_open {
        said(&format!(
            "the badge of {app} is not open, so a README can't show it: register it with `landfall app add {app} … \
             --public-badge`"
        ));
    }
    Ok(0)
}
