//! What has to be installed for a source that names nothing: what it imports, as far as it is well known.
//!
//! Only names in this list are installed. A package that is called as some module of the app would be somebody
//! else's code.

use std::collections::BTreeSet;

use super::python;
use super::source::Source;

/// Modules and the packages that have them.
const KNOWN: [(&str, &str); 56] = [
    ("PIL", "pillow"),
    ("MySQLdb", "mysqlclient"),
    ("alembic", "alembic"),
    ("apiflask", "apiflask"),
    ("apscheduler", "apscheduler"),
    ("authlib", "authlib"),
    ("bcrypt", "bcrypt"),
    ("bleach", "bleach"),
    ("boto3", "boto3"),
    ("bs4", "beautifulsoup4"),
    ("celery", "celery"),
    ("click", "click"),
    ("connexion", "connexion[flask]"),
    ("cryptography", "cryptography"),
    ("dash", "dash"),
    ("dotenv", "python-dotenv"),
    ("email_validator", "email-validator"),
    ("environs", "environs"),
    ("eventlet", "eventlet"),
    ("faker", "faker"),
    ("flask", "flask"),
    ("flasgger", "flasgger"),
    ("gevent", "gevent"),
    ("google", "google-api-python-client"),
    ("gunicorn", "gunicorn"),
    ("httpx", "httpx"),
    ("itsdangerous", "itsdangerous"),
    ("jinja2", "jinja2"),
    ("jose", "python-jose"),
    ("jwt", "pyjwt"),
    ("markdown", "markdown"),
    ("markdown2", "markdown2"),
    ("markupsafe", "markupsafe"),
    ("marshmallow", "marshmallow"),
    ("matplotlib", "matplotlib"),
    ("mongoengine", "mongoengine"),
    ("mysql", "mysql-connector-python"),
    ("numpy", "numpy"),
    ("openai", "openai"),
    ("pandas", "pandas"),
    ("passlib", "passlib"),
    ("peewee", "peewee"),
    ("plotly", "plotly"),
    ("prometheus_client", "prometheus-client"),
    ("psutil", "psutil"),
    ("psycopg2", "psycopg2-binary"),
    ("pydantic", "pydantic"),
    ("pymongo", "pymongo"),
    ("pymysql", "pymysql"),
    ("redis", "redis"),
    ("requests", "requests"),
    ("sqlalchemy", "sqlalchemy"),
    ("waitress", "waitress"),
    ("werkzeug", "werkzeug"),
    ("wtforms", "wtforms"),
    ("yaml", "pyyaml"),
];

/// Extensions that are called as their package.
const FLASK: [&str; 37] = [
    "flask_admin",
    "flask_apispec",
    "flask_babel",
    "flask_bcrypt",
    "flask_caching",
    "flask_ckeditor",
    "flask_compress",
    "flask_cors",
    "flask_debugtoolbar",
    "flask_dance",
    "flask_graphql",
    "flask_httpauth",
    "flask_jwt_extended",
    "flask_limiter",
    "flask_login",
    "flask_mail",
    "flask_marshmallow",
    "flask_migrate",
    "flask_moment",
    "flask_mongoengine",
    "flask_openapi3",
    "flask_principal",
    "flask_pymongo",
    "flask_restful",
    "flask_restx",
    "flask_security",
    "flask_seasurf",
    "flask_session",
    "flask_smorest",
    "flask_socketio",
    "flask_sqlalchemy",
    "flask_talisman",
    "flask_bootstrap",
    "flask_jwt",
    "flask_mysqldb",
    "flask_script",
    "flask_wtf",
];

/// Returns the packages that the source imports and does not have itself.
pub(crate) fn packages(source: &Source) -> Vec<String> {
    let mut modules = BTreeSet::new();
    for (path, text) in source.python_texts() {
        let is_test = path.split('/').any(|part| part.starts_with("test") || part == "conftest.py");
        if is_test {
            continue;
        }
        for statement in python::statements(&text) {
            modules.extend(imported(&statement.text));
        }
    }
    let is_own = |module: &str| source.has(&format!("{module}.py")) || source.has_folder(module);
    let package = |module: &String| {
        let name = module.as_str();
        let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, package)| (*package).to_owned());
        known.or_else(|| FLASK.contains(&name).then(|| name.replace('_', "-")))
    };
    let mut packages: Vec<String> =
        modules.iter().filter(|module| !is_own(module)).filter_map(package).collect();
    packages.sort();
    packages
}

fn imported(statement: &str) -> Vec<String> {
    let first = |module: &str| module.trim().split(['.', ' ']).next().unwrap_or_default().to_owned();
    if let Some(rest) = statement.strip_prefix("from ") {
        return if rest.starts_with('.') { vec![] } else { vec![first(rest)] };
    }
    statement.strip_prefix("import ").map(|rest| rest.split(',').map(first).collect()).unwrap_or_default()
}
