//! Which Dockerfile a build uses: the app's own, or one generated for a Flask app that has none.
//!
//! The generated one is plain enough to be copied into the app and changed there.

use std::path::Path;

/// The name under which people expect it, and the only one that is generated when it is missing.
const DEFAULT_NAME: &str = "Dockerfile";

/// The image that a generated Dockerfile starts from, which is also where the tests run by default.
const BASE: &str = "python:3.12-slim";

/// Where Flask itself looks, in its order.
const MODULES: [&str; 3] = ["wsgi", "app", "main"];

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
pub(crate) fn choose(root: &Path, configured: &str, app_port: u16) -> Result<Dockerfile, String> {
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
        Err(_) if configured == DEFAULT_NAME => generate(root, app_port).map(Dockerfile::Generated),
        Err(_) => Err(format!(
            "there is no {configured:?} in the source: add it, or change `[build] dockerfile` in landfall.toml"
        )),
    }
}

fn generate(root: &Path, app_port: u16) -> Result<String, String> {
    let app = find_app(root)?;
    let (manifest, install) = if root.join("requirements.txt").is_file() {
        ("requirements.txt", "pip install -r requirements.txt")
    } else if root.join("pyproject.toml").is_file() {
        // The dependencies of a pyproject can't be had without its package.
        (".", "pip install .")
    } else {
        return Err("the app has no Dockerfile, and none can be generated without requirements.txt or \
                    pyproject.toml: add one of the three"
            .into());
    };
    // pip leaves alone what the app's own requirements have installed. What changes with every commit comes last.
    Ok(format!(
        r#"FROM {BASE}
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --no-create-home --uid 10001 app
WORKDIR /app
COPY {manifest} ./
RUN --mount=type=cache,target=/root/.cache/pip {install} && pip install gunicorn
COPY . .
USER 10001
ENV PORT={app_port}
EXPOSE {app_port}
CMD exec gunicorn --bind "0.0.0.0:$PORT" --workers 2 --threads 4 --worker-tmp-dir /dev/shm --access-logfile - "{app}"
"#
    ))
}

/// Returns the app as gunicorn wants it: `module:object`.
fn find_app(root: &Path) -> Result<String, String> {
    for module in MODULES {
        let Ok(source) = std::fs::read_to_string(root.join(format!("{module}.py"))) else { continue };
        if let Some(object) = find_object(&source) {
            return Ok(format!("{module}:{object}"));
        }
    }
    Err("the app has no Dockerfile, and none can be generated: no wsgi.py, app.py or main.py at the source's root \
         has `app`, `application` or `create_app()`; add a Dockerfile, or a wsgi.py with `app = ...`"
        .into())
}

fn find_object(source: &str) -> Option<&'static str> {
    let has = |start: &str, next: &[char]| {
        source
            .lines()
            .filter_map(|line| line.strip_prefix(start))
            .any(|rest| rest.trim_start().starts_with(next))
    };
    let is_named = |name: &str| {
        let imported = source.lines().filter(|line| line.starts_with("from ")).any(|line| {
            line.split_once(" import ").is_some_and(|(_, names)| {
                names.split(',').any(|n| n.split_whitespace().next_back() == Some(name))
            })
        });
        has(name, &['=', ':']) || imported
    };
    if is_named("app") {
        Some("app")
    } else if is_named("application") {
        Some("application")
    } else if has("def create_app", &['(']) || is_named("create_app") {
        Some("create_app()")
    } else {
        None
    }
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

    #[test]
    fn the_apps_own_dockerfile_is_used() {
        let dir = source(&[("Dockerfile", "FROM scratch\n")]);
        assert_eq!(choose(dir.path(), "Dockerfile", 8000), Ok(Dockerfile::Own("Dockerfile".into())));
    }

    #[test]
    fn a_flask_app_without_one_gets_one() {
        let dir = source(&[
            ("app.py", "from flask import Flask\n\napp = Flask(__name__)\n"),
            ("requirements.txt", "flask\n"),
        ]);
        let Ok(Dockerfile::Generated(text)) = choose(dir.path(), "Dockerfile", 8080) else {
            panic!("none was generated")
        };
        let expected = r#"FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --no-create-home --uid 10001 app
WORKDIR /app
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt && pip install gunicorn
COPY . .
USER 10001
ENV PORT=8080
EXPOSE 8080
CMD exec gunicorn --bind "0.0.0.0:$PORT" --workers 2 --threads 4 --worker-tmp-dir /dev/shm --access-logfile - "app:app"
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn the_app_is_found_under_its_usual_names() {
        for (text, object) in [
            ("app = Flask(__name__)", Some("app")),
            ("app: Flask = Flask(__name__)", Some("app")),
            ("application=make()", Some("application")),
            ("def create_app(config=None):\n    app = 1", Some("create_app()")),
            ("from shop import app", Some("app")),
            ("from shop import db, create_app", Some("create_app()")),
            ("from shop import thing as application", Some("application")),
            ("    app = indented()", None),
            ("approx = 3", None),
            ("import app", None),
        ] {
            assert_eq!(find_object(text), object, "{text:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let no_app = source(&[("requirements.txt", "flask"), ("app.py", "print()")]);
        assert!(choose(no_app.path(), "Dockerfile", 8000).unwrap_err().contains("create_app()"));
        let no_requirements = source(&[("app.py", "app = 1")]);
        assert!(choose(no_requirements.path(), "Dockerfile", 8000).unwrap_err().contains("requirements.txt"));
        let configured = source(&[("Dockerfile", "FROM scratch")]);
        assert!(choose(configured.path(), "docker/Web", 8000).unwrap_err().contains("docker/Web"));
        assert!(choose(configured.path(), "../Dockerfile", 8000).unwrap_err().contains("`..`"));
    }
}
