//! Where the app is: the module and the object in it, or the function that makes it.
//!
//! Read off the source in the order in which people put it there: what `FLASK_APP` names, the usual files at the root,
//! packages, `src/`, folders such as `backend/`.

use super::own_server::{OwnServer, own_server};
use super::procfile;
use super::python::{self, Statement};
use super::source::Source;

/// Files that hold an app, in the order in which they are looked at.
const USUAL: [&str; 11] =
    ["wsgi", "app", "main", "run", "application", "server", "autoapp", "manage", "index", "api", "web"];
/// Files of a package that hold it, after `__init__`.
const IN_PACKAGE: [&str; 9] =
    ["wsgi", "app", "main", "application", "server", "factory", "run", "web", "__main__"];
/// Folders that are looked into first.
const FOLDERS: [&str; 9] =
    ["src", "backend", "server", "api", "app", "web", "flask_app", "flask-app", "flask"];
/// Folders and files that hold no app that could be served.
const OTHER: [&str; 16] = [
    "tests",
    "test",
    "docs",
    "doc",
    "examples",
    "example",
    "migrations",
    "scripts",
    "frontend",
    "client",
    "setup",
    "conftest",
    "noxfile",
    "tasks",
    "fabfile",
    "alembic",
];
const FACTORIES: [&str; 10] = [
    "create_app",
    "make_app",
    "build_app",
    "create_application",
    "make_application",
    "create_flask_app",
    "app_factory",
    "get_app",
    "init_app",
    "setup_app",
];
/// Which configuration is asked for, where a factory has to be told one.
const CONFIGURATIONS: [&str; 5] = ["production", "prod", "default", "development", "dev"];

/// How an entry is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A WSGI server imports it: `app`, or `create_app()`.
    Served {
        /// As gunicorn takes it, after the colon.
        object: String,
    },
    /// Only the file itself can do it.
    Script,
}

/// Where the app is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `shop.web`.
    pub(crate) module: String,
    /// The folder that it has to be started in. None: the root.
    pub(crate) folder: Option<String>,
    pub(crate) start: Start,
    /// Why it is believed.
    pub(crate) reason: String,
    /// The import would start a server and not come back.
    pub(crate) runs_at_import: bool,
    pub(crate) uses_socketio: bool,
    /// The file's own server listens to others than its own machine.
    pub(crate) listens_to_all: bool,
    /// The port of the file's own server.
    pub(crate) port: Option<u16>,
}

impl Entry {
    /// Returns what `FLASK_APP` must be for the `flask` command.
    pub(crate) fn flask_app(&self) -> String {
        match &self.start {
            Start::Served { object } if object.contains('(') && !object.ends_with("()") => {
                format!("{}:{object}", self.module)
            }
            Start::Served { object }
                if !["app", "application", "create_app()", "make_app()"].contains(&object.as_str()) =>
            {
                format!("{}:{object}", self.module)
            }
            _ => self.module.clone(),
        }
    }
}

/// Finds the app.
pub(crate) fn find(source: &Source) -> Option<Entry> {
    let found = named(source).or_else(|| {
        let mut bases = vec![String::new()];
        let folders = source.folders_in("");
        let is_base = |name: &&String| !OTHER.contains(&name.as_str());
        bases.extend(FOLDERS.iter().map(|name| (*name).to_owned()).filter(|name| folders.contains(name)));
        bases
            .extend(folders.iter().filter(is_base).filter(|name| !FOLDERS.contains(&name.as_str())).cloned());
        bases.iter().find_map(|base| in_base(source, base))
    });
    found.or_else(|| script(source))
}

/// What `FLASK_APP` or the server in the Procfile names.
fn named(source: &Source) -> Option<Entry> {
    let (value, file, said) = procfile::variable(source, "FLASK_APP")
        .map(|(value, file)| (value, file, "FLASK_APP="))
        .or_else(|| Some((procfile::served(source)?, "Procfile".to_owned(), "")))
        .or_else(|| in_texts(source).map(|(value, file)| (value, file, "FLASK_APP=")))?;
    let (target, object) = value.split_once(':').map_or((value.as_str(), None), |(t, o)| (t, Some(o)));
    let target = target.trim_start_matches("./").trim_end_matches('/');
    let target = target.strip_suffix(".py").unwrap_or(target).replace('.', "/");
    let path = [format!("{target}.py"), format!("{target}/__init__.py")]
        .into_iter()
        .find(|path| source.has(path))?;
    let (folder, module) = match target.split_once('/') {
        Some((folder, rest)) if !source.has(&format!("{folder}/__init__.py")) => (folder, rest),
        _ => ("", target.as_str()),
    };
    let reason = format!("{file} says {said}{value}");
    let module = module.replace('/', ".");
    let mut entry = in_module(source, folder, &module, &path, true)?;
    if let Some(object) = object.filter(|object| !object.is_empty()) {
        let object = if object.starts_with("create_") && !object.contains('(') {
            format!("{object}()")
        } else {
            object.to_owned()
        };
        entry.start = Start::Served { object };
    }
    Some(Entry { reason, ..entry })
}

/// What the instructions of the app say: `export FLASK_APP=shop`, `flask --app shop run`.
fn in_texts(source: &Source) -> Option<(String, String)> {
    let files = [
        "Procfile",
        "Makefile",
        "docker-compose.yml",
        "docker-compose.yaml",
        "README.md",
        "README.rst",
        "readme.md",
    ];
    files.into_iter().find_map(|file| {
        let text = source.text(file)?;
        let after = |mark: &str| {
            let rest = &text[text.find(mark)? + mark.len()..];
            let is_end = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'' | ';' | '&' | '<' | ',');
            let value = rest.trim_start_matches(['"', '\'', '=']).split(is_end).next()?;
            (!value.is_empty()).then(|| (value.to_owned(), file.to_owned()))
        };
        after("FLASK_APP=").or_else(|| after("flask --app "))
    })
}

fn in_base(source: &Source, base: &str) -> Option<Entry> {
    let path = |name: &str| if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
    // A package is found from the folder that it is in.
    if !base.is_empty() && source.has(&path("__init__.py")) {
        return None;
    }
    for name in USUAL {
        if let Some(entry) = in_module(source, base, name, &path(&format!("{name}.py")), true) {
            return Some(entry);
        }
    }
    let mut packages = source.folders_in(base);
    packages
        .retain(|name| !OTHER.contains(&name.as_str()) && source.has(&path(&format!("{name}/__init__.py"))));
    packages.sort_by_key(|name| !["app", "application"].contains(&name.as_str()));
    for package in &packages {
        let first = in_module(source, base, package, &path(&format!("{package}/__init__.py")), false);
        let rest = || {
            IN_PACKAGE.iter().find_map(|name| {
                in_module(
                    source,
                    base,
                    &format!("{package}.{name}"),
                    &path(&format!("{package}/{name}.py")),
                    false,
                )
            })
        };
        if let Some(entry) = first.or_else(rest) {
            return Some(entry);
        }
    }
    let others = source.names_in(base).filter_map(|name| name.strip_suffix(".py"));
    let others: Vec<&str> = others
        .filter(|name| {
            !USUAL.contains(name) && !OTHER.contains(name) && !name.starts_with("test") && *name != "__init__"
        })
        .collect();
    others.into_iter().find_map(|name| in_module(source, base, name, &path(&format!("{name}.py")), false))
}

/// What is found in one file. `usual`: by its name it is the one, so `app` may be anything.
fn in_module(source: &Source, base: &str, module: &str, path: &str, usual: bool) -> Option<Entry> {
    let text = source.text(path)?;
    let statements = python::statements(&text);
    let found = object(source, base, &statements, &text, usual)?;
    if !module.split('.').all(python::is_identifier) {
        return None;
    }
    let (mut folder, mut module) = ((!base.is_empty()).then(|| base.to_owned()), module.to_owned());
    if let Some(base) = &folder
        && statements.iter().any(|s| imports_by(&s.text, base))
    {
        module = format!("{base}.{module}");
        folder = None;
    }
    let server = own_server(&statements);
    if server.socketio_at_import {
        return Some(started(source, folder, module, path, &text, &server));
    }
    Some(Entry {
        reason: format!("{path} has {}", found.said),
        start: Start::Served { object: found.object },
        runs_at_import: server.at_import,
        uses_socketio: source.python_texts().iter().any(|(_, text)| text.contains("SocketIO(")),
        listens_to_all: server.to_all,
        port: server.port,
        module,
        folder,
    })
}

fn imports_by(statement: &str, folder: &str) -> bool {
    ["from ", "import "].iter().any(|word| {
        statement
            .strip_prefix(word)
            .and_then(|rest| rest.strip_prefix(folder))
            .is_some_and(|rest| rest.starts_with(['.', ' ']))
    })
}

struct Object {
    object: String,
    /// As it stands there.
    said: String,
}

fn object(source: &Source, base: &str, statements: &[Statement], text: &str, usual: bool) -> Option<Object> {
    let at_import = || statements.iter().filter(|s| s.is_at_import());
    let assigned: Vec<(&str, &str)> = at_import().filter_map(Statement::assigned).collect();
    let imported: Vec<(&str, &str, &str)> = at_import()
        .filter_map(Statement::imported_from)
        .flat_map(|(module, names)| names.into_iter().map(move |(here, there)| (here, there, module)))
        .collect();
    let of = |name: &str, value: &str| Object {
        object: name.to_owned(),
        said: short(&format!("{name} = {value}")),
    };
    // Dash has a server of its own inside.
    if let Some((name, value)) =
        assigned.iter().find(|(name, value)| *name == "server" && value.ends_with(".server"))
    {
        return Some(of(name, value));
    }
    let named = |name: &&(&str, &str)| matches!(name.0, "app" | "application");
    let is_app = |value: &str| makes_flask(value) || calls_factory(value);
    let first = assigned.iter().filter(named).find(|(_, value)| is_app(value));
    let first = first.or_else(|| assigned.iter().find(|(_, value)| makes_flask(value)));
    let first = first.or_else(|| assigned.iter().find(|(_, value)| calls_factory(value)));
    let is_wsgi = |value: &str| !value.contains("FastAPI(") && !value.contains("Dash(") && value != "None";
    let first = first.or_else(|| {
        assigned.iter().filter(named).find(|(_, value)| usual && value.contains('(') && is_wsgi(value))
    });
    if let Some((name, value)) = first {
        return Some(of(name, value));
    }
    if let Some((here, _, module)) =
        imported.iter().find(|(here, _, _)| usual && matches!(*here, "app" | "application"))
    {
        return Some(Object { object: (*here).to_owned(), said: format!("{here}, from {module}") });
    }
    let defined = statements.iter().filter(|s| s.within.is_empty()).filter_map(Statement::defined);
    let defined = defined.filter(|(name, _)| {
        FACTORIES.contains(name) || (name.contains("app") && text.contains("Flask(__name__"))
    });
    let defined: Vec<(&str, &str)> =
        defined.filter(|_| text.contains("Flask(") || text.contains("App(")).collect();
    for (name, parameters) in by_rank(&defined) {
        if let Some(call) = call(source, name, parameters, text) {
            return Some(Object { said: format!("{name}({})", short(parameters)), object: call });
        }
    }
    if let Some((name, parameters)) = other_factory(statements) {
        return Some(Object {
            said: format!("{name}({}), which returns its app", short(parameters)),
            object: format!("{name}()"),
        });
    }
    let factory = imported.iter().find(|(_, there, _)| usual && FACTORIES.contains(there))?;
    let (here, there, module) = factory;
    let parameters = parameters_of(source, base, module, there).unwrap_or_default();
    let call = call(source, there, &parameters, text)?;
    let call = call.replacen(there, here, 1);
    Some(Object { said: format!("{here}, from {module}"), object: call })
}

/// A function of any name that makes an app and returns it, and needs not be told anything.
fn other_factory(statements: &[Statement]) -> Option<(&str, &str)> {
    statements.iter().enumerate().find_map(|(at, statement)| {
        let (name, parameters) = statement.defined().filter(|_| statement.within.is_empty())?;
        let is_told = python::arguments(parameters)
            .iter()
            .any(|one| !one.contains('=') && !one.starts_with(['*', '/']));
        let body = || statements[at + 1..].iter().take_while(|inside| !inside.within.is_empty());
        let makes = |app: &str| {
            body().filter_map(Statement::assigned).any(|(name, value)| name == app && makes_flask(value))
        };
        let returns =
            body().filter_map(|inside| inside.text.strip_prefix("return ")).any(|value| makes(value.trim()));
        (returns && !is_told && !statement.text.starts_with("async ")).then_some((name, parameters))
    })
}

fn by_rank<'a>(defined: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut ranked = defined.to_vec();
    ranked
        .sort_by_key(|(name, _)| FACTORIES.iter().position(|known| known == name).unwrap_or(FACTORIES.len()));
    ranked
}

fn makes_flask(value: &str) -> bool {
    let Some((callee, _)) = value.split_once('(') else { return false };
    let class = callee.rsplit('.').next().unwrap_or_default().trim();
    python::is_identifier(class)
        && (class.ends_with("Flask") || matches!(class, "OpenAPI" | "Eve" | "FlaskApp" | "FlaskAPI"))
}

fn calls_factory(value: &str) -> bool {
    let Some((callee, _)) = value.split_once('(') else { return false };
    let name = callee.rsplit('.').next().unwrap_or_default().trim();
    FACTORIES.contains(&name) && name != "init_app"
}

/// Returns the parameters of a factory in another module.
fn parameters_of(source: &Source, base: &str, module: &str, name: &str) -> Option<String> {
    let module = module.trim_start_matches('.').replace('.', "/");
    let start = if base.is_empty() { String::new() } else { format!("{base}/") };
    let paths = [
        format!("{start}{module}.py"),
        format!("{start}{module}/__init__.py"),
        format!("{module}/__init__.py"),
    ];
    let texts = paths.iter().filter_map(|path| source.text(path));
    texts.flat_map(|text| python::statements(&text)).find_map(|statement| {
        let (found, parameters) = statement.defined()?;
        (found == name).then(|| parameters.to_owned())
    })
}

/// Returns the call of a factory, with what it has to be told. None: that can't be known.
fn call(source: &Source, name: &str, parameters: &str, text: &str) -> Option<String> {
    let is_required = |parameter: &&str| !parameter.contains('=') && !parameter.starts_with(['*', '/']);
    let all = python::arguments(parameters);
    let required: Vec<&str> = all.into_iter().filter(is_required).collect();
    match required.as_slice() {
        [] => Some(format!("{name}()")),
        [one] => {
            let parameter = one.split(':').next().unwrap_or_default().trim();
            let value = configuration(source, name, parameter, text)?;
            Some(format!("{name}('{value}')"))
        }
        _ => None,
    }
}

/// Returns the configuration that a factory is told.
fn configuration(source: &Source, factory: &str, parameter: &str, text: &str) -> Option<String> {
    if parameter == "app" || !["conf", "env", "setting", "mode"].iter().any(|part| parameter.contains(part)) {
        return None;
    }
    let texts = source.python_texts();
    let is_test =
        |path: &str| path.split('/').any(|part| part.starts_with("test") || part.starts_with("conftest"));
    let own = texts.iter().filter(|(path, _)| !is_test(path));
    let statements: Vec<Statement> = own
        .clone()
        .filter(|(_, text)| text.contains("onfig") || text.contains(factory))
        .flat_map(|(_, text)| python::statements(text))
        .collect();
    let keys = statements
        .iter()
        .filter_map(Statement::assigned)
        .filter(|(name, value)| name.to_lowercase().contains("conf") && value.starts_with(['{', 'd']));
    let keys: Vec<&str> = keys.flat_map(|(_, value)| keys_of(value)).collect();
    let known = CONFIGURATIONS.iter().find(|name| keys.contains(name));
    if let Some(known) = known {
        return Some((*known).to_owned());
    }
    let called = statements.iter().find_map(|statement| {
        let at = statement.text.find(&format!("{factory}("))?;
        let rest = &statement.text[at + factory.len() + 1..];
        let inner = &rest[..python::closing(rest)?];
        let last =
            inner.rsplit([',', ' ', '(']).find_map(|part| python::literal(part.trim_end_matches(')')))?;
        (!statement.text.starts_with("def ") && is_plain(last)).then(|| last.to_owned())
    });
    called.or_else(|| {
        // `app.config.from_object(config)` takes the path of a class as well.
        let takes_path = text.contains(&format!("from_object({parameter})"));
        let config = source.text("config.py").filter(|_| takes_path)?;
        let statements = python::statements(&config);
        let classes: Vec<&str> = statements
            .iter()
            .filter_map(|s| s.text.strip_prefix("class ")?.split(['(', ':']).next())
            .collect();
        let best = ["ProductionConfig", "ProdConfig", "Production", "Config", "DevelopmentConfig"];
        let class = best.iter().find(|name| classes.contains(name))?;
        Some(format!("config.{class}"))
    })
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':'))
}

/// Returns the keys of `{'a': 1}` and `dict(a=1)`.
fn keys_of(value: &str) -> Vec<&str> {
    let inner = match (value.strip_prefix('{'), value.strip_prefix("dict(")) {
        (Some(inner), _) => inner.strip_suffix('}').unwrap_or(inner),
        (None, Some(inner)) => inner.strip_suffix(')').unwrap_or(inner),
        (None, None) => return Vec::new(),
    };
    let pairs = python::arguments(inner).into_iter();
    pairs
        .filter_map(|pair| {
            let (key, _) = pair.split_once([':', '='])?;
            let key = key.trim();
            python::literal(key).or(python::is_identifier(key).then_some(key))
        })
        .collect()
}

/// A file that starts the app by itself, in a way that nothing else can.
fn script(source: &Source) -> Option<Entry> {
    let paths = USUAL.iter().map(|name| format!("{name}.py")).filter(|path| source.has(path));
    let others = source
        .names_in("")
        .filter(|name| name.ends_with(".py") && !name.starts_with("test"))
        .map(str::to_owned);
    paths.chain(others).find_map(|path| {
        let text = source.text(&path)?;
        let server = own_server(&python::statements(&text));
        let is_flask = text.contains("flask") || text.contains("app");
        let module = path.strip_suffix(".py")?.to_owned();
        (server.in_main && is_flask).then(|| started(source, None, module, &path, &text, &server))
    })
}

fn started(
    source: &Source,
    folder: Option<String>,
    module: String,
    path: &str,
    text: &str,
    server: &OwnServer,
) -> Entry {
    let reads_port = text.contains("PORT");
    Entry {
        reason: format!("{path} starts its own server"),
        start: Start::Script,
        runs_at_import: true,
        uses_socketio: source.python_texts().iter().any(|(_, text)| text.contains("SocketIO(")),
        listens_to_all: server.to_all,
        port: server.port.filter(|_| !reads_port),
        module,
        folder,
    }
}

fn short(text: &str) -> String {
    crate::lines::clip(text, 80)
}
