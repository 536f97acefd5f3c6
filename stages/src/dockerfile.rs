//! Which Dockerfile a build uses: the app's own, or one generated for a Flask app that has none.
//!
//! The generated one is plain enough to be copied into the app and changed there.

use std::path::Path;

use landfall_engine::core::settings::Settings;

use crate::detect::{Manifest, Source, at_run_time, exec, image_recipe, servers, web_command};

/// The name under which people expect it, and the only one that is generated when it is missing.
const DEFAULT_NAME: &str = "Dockerfile";

/// The image that a generated Dockerfile starts from, which is also where the tests run by default.
const BASE: &str = "python:3.12-slim";

/// The Dockerfile of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dockerfile {
    /// The app has one, at this path from the source's root.
    Own(String),
    /// It has none, and this is it.
    Generated(String),
}

impl Dockerfile {
    /// Returns its path from the source's root.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Own(path) => path,
            Self::Generated(_) => DEFAULT_NAME,
        }
    }
}

/// Returns the Dockerfile of the source in `root`, or what people have to do to get one.
pub(crate) fn choose(root: &Path, settings: &Settings) -> Result<Dockerfile, String> {
    let configured = settings.build.dockerfile.as_str();
    let plain = Path::new(configured).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if configured.is_empty() || !plain {
        return Err(format!(
            "`[build] dockerfile` is {configured:?}: expected a path from the source's root, without `..`"
        ));
    }
    // A link could lead out of the source; what it leads to is not what was pushed.
    let found = std::fs::symlink_metadata(root.join(configured));
    match found {
        Ok(metadata) if metadata.is_file() => Ok(Dockerfile::Own(configured.to_owned())),
        Ok(_) => {
            Err(format!("{configured:?} (`[build] dockerfile`) is not a file: put the Dockerfile there"))
        }
        Err(_) if configured == DEFAULT_NAME => generate(root, settings).map(Dockerfile::Generated),
        Err(_) => Err(format!(
            "there is no {configured:?} in the source: add it, or change `[build] dockerfile` in landfall.toml"
        )),
    }
}

/// Returns a Dockerfile for a source that has none.
///
/// # Errors
///
/// Says that nothing was found that serves, and what to do.
pub(crate) fn generate(root: &Path, settings: &Settings) -> Result<String, String> {
    let source = Source::of(root);
    let manifest = Manifest::of(&source);
    let command = settings.web.command.clone().or_else(|| web_command(&source, &manifest)).ok_or(
        "the app has no Dockerfile, and none can be generated: no `app`, `application` or `create_app()` was found in its \
         source; say what serves it with `command` below `[web]`, or add a Dockerfile",
    )?;
    let servers = servers(&source, &manifest, &command);
    let recipe = image_recipe(&source, &manifest, &servers);
    let base = settings.build.image.as_deref().unwrap_or(BASE);
    let port = settings.proxy.app_port;
    let mut text = format!("FROM {base} AS build\n");
    text.push_str("ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PROGRESS_BAR=off\n");
    if !settings.build.packages.is_empty() {
        text.push_str(&packages(&settings.build.packages, true));
    }
    text.push_str("RUN python3 -m venv /venv\nENV PATH=\"/venv/bin:$PATH\"\nWORKDIR /app\n");
    // What changes with every commit comes last.
    for folder in folders(&recipe.copied) {
        let of_folder = recipe.copied.iter().filter(|path| folder_of(path) == folder);
        let paths: String = of_folder.map(|path| format!("{} ", escaped(path))).collect();
        text.push_str(&format!("COPY {paths}./{folder}\n"));
    }
    recipe.steps.iter().for_each(|step| text.push_str(&format!("RUN {step}\n")));
    if !recipe.finish.is_empty() {
        text.push_str("COPY . .\n");
        recipe.finish.iter().for_each(|step| text.push_str(&format!("RUN {step}\n")));
    }
    text.push_str(&format!("\nFROM {base}\n"));
    let needed = at_run_time(&settings.build.packages);
    if !needed.is_empty() {
        text.push_str(&packages(&needed, false));
    }
    let path = if source.has_folder("src") { "/app:/app/src" } else { "/app" };
    text.push_str(&format!(
        "RUN useradd --create-home --uid 10001 app && mkdir /app && chown 10001:10001 /app\n\
         ENV PATH=\"/venv/bin:$PATH\" PYTHONPATH={path} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1\n\
         WORKDIR /app\n\
         COPY --from=build /venv /venv\n\
         COPY --chown=10001:10001 . .\n\
         USER 10001\n\
         ENV PORT={port}\n\
         EXPOSE {port}\n\
         CMD {}\n",
        shell_form(&command)
    ));
    Ok(text)
}

fn packages(packages: &[String], builds: bool) -> String {
    let header = if builds {
        // The official images have it, in a place of their own.
        " && { ls /usr/local/include/python3*/Python.h >/dev/null 2>&1 || apt-get install -y --no-install-recommends python3-dev; }"
    } else {
        ""
    };
    format!(
        "RUN apt-get update && apt-get install -y --no-install-recommends {}{header} && rm -rf /var/lib/apt/lists/*\n",
        packages.join(" ")
    )
}

/// Returns the folders of paths, as COPY takes its target: with a `/` behind all but the root.
fn folders(paths: &[String]) -> Vec<String> {
    let mut folders: Vec<String> = paths.iter().map(|path| folder_of(path)).collect();
    folders.sort();
    folders.dedup();
    folders
}

fn folder_of(path: &str) -> String {
    match path.strip_suffix('/') {
        Some(folder) => format!("{folder}/"),
        None => path.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default(),
    }
}

/// A name with a space in it needs the other form of COPY; such names of requirements have not been seen.
fn escaped(path: &str) -> String {
    path.replace(' ', "?")
}

/// Returns what stands behind CMD. A line of a Dockerfile is one line.
fn shell_form(command: &str) -> String {
    let command = exec(command);
    if command.contains('\n') || command.trim_start().starts_with('[') || command.ends_with('\\') {
        return serde_json::json!(["/bin/sh", "-c", command]).to_string();
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn chosen(dir: &Path, dockerfile: &str) -> Result<Dockerfile, String> {
        let mut settings = Settings::default();
        settings.build.dockerfile = dockerfile.into();
        settings.proxy.app_port = 8080;
        choose(dir, &settings)
    }

    #[test]
    fn the_apps_own_dockerfile_is_used() {
        let dir = source(&[("Dockerfile", "FROM scratch\n")]);
        assert_eq!(chosen(dir.path(), "Dockerfile"), Ok(Dockerfile::Own("Dockerfile".into())));
    }

    #[test]
    fn a_flask_app_without_one_gets_one() {
        let dir = source(&[
            ("app.py", "from flask import Flask\n\napp = Flask(__name__)\n"),
            ("requirements.txt", "flask\n"),
        ]);
        let Ok(Dockerfile::Generated(text)) = chosen(dir.path(), "Dockerfile") else {
            panic!("none was generated")
        };
        let expected = r#"FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PROGRESS_BAR=off
RUN python3 -m venv /venv
ENV PATH="/venv/bin:$PATH"
WORKDIR /app
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip pip install gunicorn

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 app && mkdir /app && chown 10001:10001 /app
ENV PATH="/venv/bin:$PATH" PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=build /venv /venv
COPY --chown=10001:10001 . .
USER 10001
ENV PORT=8080
EXPOSE 8080
CMD exec gunicorn --bind 0.0.0.0:$PORT --threads 8 --worker-tmp-dir /dev/shm --access-logfile - app:app
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_command_takes_the_place_of_its_shell_where_it_can() {
        for (command, form) in [
            ("gunicorn app:app", "exec gunicorn app:app"),
            ("gunicorn 'app:create_app()'", "exec gunicorn 'app:create_app()'"),
            ("A=1 gunicorn app", "exec env A=1 gunicorn app"),
            ("flask db upgrade && gunicorn app", "flask db upgrade && gunicorn app"),
            ("exec gunicorn app", "exec gunicorn app"),
            ("one\ntwo", r#"["/bin/sh","-c","one\ntwo"]"#),
        ] {
            assert_eq!(shell_form(command), form);
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let no_app = source(&[("requirements.txt", "flask"), ("app.py", "print()")]);
        assert!(chosen(no_app.path(), "Dockerfile").unwrap_err().contains("create_app()"));
        let configured = source(&[("Dockerfile", "FROM scratch")]);
        assert!(chosen(configured.path(), "docker/Web").unwrap_err().contains("docker/Web"));
        assert!(chosen(configured.path(), "../Dockerfile").unwrap_err().contains("`..`"));
    }
}
