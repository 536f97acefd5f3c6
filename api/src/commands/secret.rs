//! `landfall secret`: sets, lists and takes away, through the server that has the data folder or in the folder itself.
//!
//! **A value is read from a terminal, a pipe or a file, and is in no argument, no message and no answer.**

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use comfy_table::{Table, presets};
use landfall_engine::core::ledger::LedgerEvent;
use landfall_engine::ports::{Clock, SystemClock};
use landfall_stages::secrets::{
    KeyPlace, SECRET_CHARS_MIN, Scope, Unfit, VALUE_BYTES_MAX, Vault, VaultError, check_name, check_value,
    read_env_file,
};
use zeroize::Zeroizing;

use super::installation::{Installation, record};
use super::source::data_folder;
use super::stdout;
use super::target::checked;
use super::world::said;
use crate::cli::{Global, SecretArgs, SecretCommand, SecretImportArgs, SecretSetArgs};
use crate::client::Client;
use crate::compose::{AtRest, absolute};
use crate::fault::Fault;
use crate::server::SecretLine;

/// Sets, lists, takes away or imports.
///
/// # Errors
///
/// [`Fault`], when it could not be done.
pub async fn run(global: &Global, args: SecretArgs) -> Result<u8, Fault> {
    let SecretArgs { command, vault_key } = args;
    let open = async || Keeper::open(global, vault_key.as_deref()).await;
    match command {
        SecretCommand::Set(args) => set(open, args).await?,
        SecretCommand::Import(args) => import(open, args).await?,
        SecretCommand::List(args) => {
            let app = checked("app", &args.app)?;
            let secrets = open().await?.list(&app).await?;
            match (args.json, secrets.is_empty()) {
                (true, _) => secrets.iter().try_for_each(stdout::json)?,
                (false, true) => {
                    stdout::line(&format!(
                        "no secrets are set for {app}; `landfall secret set {app} NAME` sets one"
                    ))?;
                }
                (false, false) => stdout::line(&table(&secrets))?,
            }
        }
        SecretCommand::Rm(args) => {
            let scope = scope(&args.app, args.env.as_deref())?;
            open().await?.remove(&scope, &args.name).await?;
            match args.json {
                true => told(&scope, &args.name, false)?,
                false => {
                    let name = &args.name;
                    stdout::line(&format!("{name} is taken away from {scope}; containers that run keep it"))?;
                }
            }
        }
        SecretCommand::Rekey(args) => {
            let count = open().await?.rekey(&args.new_key)?;
            if args.json {
                stdout::json(&serde_json::json!({ "sealed": count, "key": args.new_key }))?;
                return Ok(0);
            }
            stdout::line(&format!(
                "{count} secrets are sealed with the key in {}, and no other opens them: put it in the place of the old \
                 one, or name it by --vault-key from now on",
                args.new_key.display()
            ))?;
        }
    }
    Ok(0)
}

async fn set(open: impl AsyncFn() -> Result<Keeper, Fault>, args: SecretSetArgs) -> Result<(), Fault> {
    let scope = scope(&args.app, args.env.as_deref())?;
    // Before anybody types a secret in vain.
    check_name(&args.name).map_err(unfit)?;
    let keeper = open().await?;
    let value = value_of(&args.name, args.from_file.as_deref())?;
    check_value(&value).map_err(unfit)?;
    keeper.set(&scope, &args.name, &value).await?;
    match args.json {
        true => told(&scope, &args.name, true)?,
        false => {
            stdout::line(&format!("{} is set for {scope}; the next stage that begins has it", args.name))?
        }
    }
    warn_when_short(&args.name, &value);
    Ok(())
}

async fn import(open: impl AsyncFn() -> Result<Keeper, Fault>, args: SecretImportArgs) -> Result<(), Fault> {
    let scope = scope(&args.app, args.env.as_deref())?;
    let values = read_env_file(&args.env_file).map_err(Fault::not_had)?;
    // All or nothing, as far as that can be told before.
    for (name, value) in &values {
        check_name(name).and_then(|()| check_value(value)).map_err(|error| {
            Fault::Usage(format!(
                "{name} in {} can't be kept, so nothing was: {error}",
                args.env_file.display()
            ))
        })?;
    }
    let keeper = open().await?;
    for (name, value) in &values {
        keeper.set(&scope, name, value).await?;
        match args.json {
            true => told(&scope, name, true)?,
            false => stdout::line(&format!("{name} is set for {scope}"))?,
        }
        warn_when_short(name, value);
    }
    said(&format!("{} are kept; remove {} now", values.len(), args.env_file.display()));
    Ok(())
}

/// Tells as JSON whether a secret is set now. Its value is told nobody.
fn told(scope: &Scope, name: &str, set: bool) -> Result<(), Fault> {
    let Scope { app, env } = scope;
    stdout::json(&serde_json::json!({ "app": app, "env": env, "name": name, "set": set }))
}

/// A way to the vault.
enum Keeper {
    /// The server that has it.
    Server(Client),
    /// The vault itself, in a data folder that is held.
    Here { vault: Vault, at_rest: Box<AtRest> },
}

impl Keeper {
    async fn open(global: &Global, key: Option<&Path>) -> Result<Self, Fault> {
        Ok(match Installation::open(global).await? {
            Installation::Server(client) => Self::Server(client),
            Installation::Here(at_rest) => {
                let data = absolute(&data_folder(global)?);
                Self::Here { vault: Vault::new(&data, KeyPlace::find(key)), at_rest }
            }
        })
    }

    async fn list(&self, app: &str) -> Result<Vec<SecretLine>, Fault> {
        match self {
            Self::Server(client) => Ok(client.secrets(app).await?.secrets),
            Self::Here { vault, .. } => {
                Ok(vault.list(app).map_err(refused)?.into_iter().map(SecretLine::from).collect())
            }
        }
    }

    async fn set(&self, scope: &Scope, name: &str, value: &str) -> Result<(), Fault> {
        match self {
            Self::Server(client) => {
                Ok(client.set_secret(&scope.app, scope.env.as_deref(), name, value).await?)
            }
            Self::Here { vault, at_rest } => {
                vault.set(scope, name, value, SystemClock.now_ms()).map_err(refused)?;
                let Scope { app, env } = scope.clone();
                record(at_rest, LedgerEvent::SecretSet { app, env, name: name.to_owned() }).await
            }
        }
    }

    async fn remove(&self, scope: &Scope, name: &str) -> Result<(), Fault> {
        match self {
            Self::Server(client) => Ok(client.remove_secret(&scope.app, scope.env.as_deref(), name).await?),
            Self::Here { vault, at_rest } => {
                if !vault.remove(scope, name).map_err(refused)? {
                    return Err(Fault::NotFound(format!("{scope} has no secret {name:?} of its own")));
                }
                let Scope { app, env } = scope.clone();
                record(at_rest, LedgerEvent::SecretRemoved { app, env, name: name.to_owned() }).await
            }
        }
    }

    fn rekey(&self, new_key: &Path) -> Result<usize, Fault> {
        match self {
            Self::Server(client) => Err(Fault::Refused(format!(
                "the server at {} works with the key that it was started with: stop it, then change the key",
                client.url()
            ))),
            Self::Here { vault, .. } => vault.rekey(&KeyPlace::named(new_key)).map_err(refused),
        }
    }
}

fn scope(app: &str, env: Option<&str>) -> Result<Scope, Fault> {
    let env = env.map(|env| checked("environment", env)).transpose()?;
    Ok(Scope { app: checked("app", app)?, env })
}

/// Reads a value from a file, from a terminal that does not show it, or from a pipe.
fn value_of(name: &str, file: Option<&Path>) -> Result<Zeroizing<String>, Fault> {
    let stdin = io::stdin();
    match file {
        Some(path) => {
            let doing = format!("could not read {}", path.display());
            let file = File::open(path).map_err(|error| Fault::io(&doing, error))?;
            whole(file, &doing)
        }
        None if stdin.is_terminal() => {
            let prompt = format!("value of {name} (it is not shown): ");
            let typed = rpassword::prompt_password(prompt);
            typed.map(Zeroizing::new).map_err(|error| Fault::io("could not ask for the value", error))
        }
        None => whole(stdin.lock(), "could not read the value from stdin"),
    }
}

fn whole(reader: impl Read, doing: &str) -> Result<Zeroizing<String>, Fault> {
    // One byte more than fits tells that there is more; the end of a line is not counted.
    let bytes_max = VALUE_BYTES_MAX as u64 + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(VALUE_BYTES_MAX + 3));
    reader.take(bytes_max).read_to_end(&mut bytes).map_err(|error| Fault::io(doing, error))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(without_line_end(text).to_owned())),
        Err(error) if error.error_len().is_none() && bytes.len() as u64 == bytes_max => {
            Err(unfit(Unfit::TooLong))
        }
        Err(_) => Err(Fault::Usage("the value is no UTF-8 text: keep what is binary in base64".into())),
    }
}

/// The end of the only line is `echo`'s or an editor's; of several lines, as a key has, it is a part.
fn without_line_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    line.filter(|line| !line.contains('\n')).unwrap_or(text)
}

fn warn_when_short(name: &str, value: &str) {
    if value.trim().chars().count() < SECRET_CHARS_MIN {
        said(&format!(
            "{name} is shorter than {SECRET_CHARS_MIN} characters, so it is not masked in what runs print: such a text \
             is everywhere"
        ));
    }
}

fn unfit(error: Unfit) -> Fault {
    Fault::Usage(error.to_string())
}

fn refused(error: VaultError) -> Fault {
    match error {
        VaultError::Unfit(error) => unfit(error),
        VaultError::Full { .. } | VaultError::Unopened { .. } => Fault::Refused(error.to_string()),
        error => Fault::not_had(error),
    }
}

fn table(secrets: &[SecretLine]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "ENVIRONMENT", "SET"]);
    for secret in secrets {
        let env = secret.env.clone().unwrap_or_else(|| "every".into());
        table.add_row([secret.name.clone(), env, secret.set_at.clone()]);
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_only_line_is_no_part_of_a_value_and_that_of_a_key_is() {
        for (read, kept) in
            [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\nb\n", "a\nb\n"), ("\n", ""), ("a\n\n", "a\n\n")]
        {
            assert_eq!(whole(read.as_bytes(), "").unwrap().as_str(), kept, "{read:?}");
        }
    }

    #[test]
    fn a_value_that_is_too_long_or_no_text_is_refused_and_not_quoted() {
        let long = "x".repeat(VALUE_BYTES_MAX + 10);
        assert!(
            check_value(&whole(long.as_bytes(), "").unwrap()).is_err(),
            "what is read is too long as well"
        );
        assert_eq!(whole("ä".repeat(VALUE_BYTES_MAX).as_bytes(), "").unwrap_err().code(), 64);
        let said = whole(&b"hunter2\xff"[..], "").unwrap_err().to_string();
        assert!(said.contains("base64") && !said.contains("hunter2"), "{said}");
    }
}
