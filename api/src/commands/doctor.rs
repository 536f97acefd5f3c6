//! `landfall doctor`: whether this machine can take an app live, and what to do where it can't.

use std::path::Path;

use landfall_engine::core::settings::Settings;
use landfall_stages::config::{CONFIG_FILE, PYPROJECT_FILE, read_at_commit};
use landfall_stages::executor::{FlaskStages, FlaskStagesConfig};
use landfall_stages::proxy::ADMIN_SOCKET;
use landfall_stages::secrets::{KeyPlace, Secrets, Vault};

use super::source::data_folder;
use super::stdout;
use crate::cli::{DoctorArgs, Global, World};
use crate::client::Client;
use crate::compose::{absolute, usual_address};
use crate::doctor::report::Report;
use crate::doctor::{Patient, examine};
use crate::fault::Fault;
use crate::picture::screen::{colour_on, text};

/// Examines this machine. Returns 1 when something is a problem.
///
/// # Errors
///
/// [`Fault`] when no data folder can be meant, or stdout can't be written.
pub async fn run(global: &Global, args: DoctorArgs) -> Result<u8, Fault> {
    if global.server.is_some() {
        return Err(Fault::Usage(
            "the doctor examines the machine that it runs on: run it there, without --server".into(),
        ));
    }
    let data = absolute(&data_folder(global)?);
    let World { proxy_listen, secrets, vault_key } = args.world;
    let settings = settings_here(Path::new("."));
    let app = settings.as_ref().map(|settings| settings.service.clone()).unwrap_or_default();
    let key = || KeyPlace::find(vault_key.as_deref());
    let secrets = secrets_of(secrets.as_deref(), Vault::new(&data, key()), &app);
    let vitals = FlaskStages::new(FlaskStagesConfig {
        data: data.clone(),
        secrets: secrets.clone().or_else(|_| Secrets::from_process(None)).map_err(Fault::not_had)?,
        proxy_socket: data.join("proxy").join(ADMIN_SOCKET),
        docker: None,
    });
    let patient = Patient {
        server: Client::of_data_dir(&data).await,
        listen: args.listen,
        proxy_listen: match proxy_listen {
            Some(address) => address,
            None => usual_address(&data.join("proxy")).await,
        },
        settings,
        secrets,
        vault: Vault::new(&data, key()),
        vitals: vitals.map(|stages| stages.vitals()).map_err(|error| causes(&error)),
        data,
    };
    let findings = examine(&patient).await;
    let report = Report::of(&findings);
    match args.json {
        true => stdout::json(&report)?,
        false => stdout::line(&text(&report.lines(), colour_on(&std::io::stdout())))?,
    }
    Ok(u8::from(!report.ok))
}

/// Returns the configuration of the app in a folder, as it is there; the defaults where nobody wrote any.
fn settings_here(folder: &Path) -> Result<Settings, String> {
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let (ours, python) = (read(CONFIG_FILE), read(PYPROJECT_FILE));
    let file = |name: &str| if name == CONFIG_FILE { ours.clone() } else { python.clone() };
    read_at_commit(file, "app").map(|(settings, _)| settings)
}

fn secrets_of(file: Option<&Path>, vault: Vault, app: &str) -> Result<Secrets, String> {
    let own = Secrets::from_process(file).map_err(|error| causes(&error))?;
    own.with_vault(vault).for_app(app, None).map_err(|error| causes(&error))
}

fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
