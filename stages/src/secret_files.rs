//! Secrets that an app reads from files: laid into its container after it is made and before it starts.
//!
//! They are in no image and in no setting of the container, so `docker inspect` does not show them, as it shows
//! every variable. They stay in the container over its restarts, and go with it.

use std::collections::BTreeMap;

use bollard::query_parameters::UploadToContainerOptionsBuilder;
use bytes::Bytes;
use landfall_engine::core::settings::Settings;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::docker;
use crate::stopped::Stopped;

/// As Docker has it for its own secrets: readable for whoever the app runs as, and written by nobody.
const MODE: u32 = 0o444;

/// Files by the folder under which they are laid in.
#[derive(Default)]
pub(crate) struct SecretFiles(BTreeMap<String, Vec<(String, Zeroizing<String>)>>);

impl SecretFiles {
    /// Returns what the settings ask for.
    pub(crate) fn of(context: &Context, settings: &Settings, is_read_only: bool) -> Result<Self, Stopped> {
        let mut files = Self::default();
        for (path, name) in &settings.env.files {
            let value = context.secrets.get(name);
            let value = value.map_err(|missing| Stopped::failed(format!("`[env] files`: {missing}")))?;
            // A disk that is read-only takes files in its volumes alone, each by itself; one that is not makes folders
            // that are missing when it is given the whole path.
            let (folder, file) = match path.rsplit_once('/') {
                Some((folder, file)) if is_read_only => (folder, file),
                _ => ("/", path.trim_start_matches('/')),
            };
            let value = Zeroizing::new(value.to_owned());
            files.0.entry(folder.to_owned()).or_default().push((file.to_owned(), value));
        }
        Ok(files)
    }

    /// Lays them into a container that was made and not started. A second time changes nothing.
    pub(crate) async fn lay_into(&self, context: &Context, container: &str) -> Result<(), Stopped> {
        for (folder, files) in &self.0 {
            let tar = pack(files)
                .map_err(|error| Stopped::errored(format!("packing the secret files: {error}")))?;
            let options = UploadToContainerOptionsBuilder::default().path(folder).build();
            let uploading =
                context.docker.api().upload_to_container(container, Some(options), bollard::body_full(tar));
            context.docker.ask(uploading).await.map_err(|error| refuse(folder, &error))?;
        }
        Ok(())
    }
}

fn pack(files: &[(String, Zeroizing<String>)]) -> std::io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, value) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(value.len() as u64);
        header.set_mode(MODE);
        archive.append_data(&mut header, path, value.as_bytes())?;
    }
    Ok(archive.into_inner()?.into())
}

/// Docker says 400 where a file stands in the place of a folder.
fn refuse(folder: &str, error: &bollard::errors::Error) -> Stopped {
    let said = docker::explain(&format!("laying secret files into {folder} of the container"), error);
    match docker::status(error) {
        Some(400 | 403) => Stopped::failed(format!("{said}; check the paths in `[env] files`")),
        _ => Stopped::errored(said),
    }
}
