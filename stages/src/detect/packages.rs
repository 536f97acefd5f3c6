//! Debian packages that Python packages need where there is no wheel for them.

use super::manifest::Manifest;
use super::source::Source;

const COMPILER: [&str; 2] = ["gcc", "libc6-dev"];

/// Python packages that are compiled when they are installed, and what that takes beside a compiler.
const COMPILED: [(&str, &[&str]); 17] = [
    ("psycopg2", &["libpq-dev"]),
    ("psycopg-c", &["libpq-dev"]),
    ("mysqlclient", &["default-libmysqlclient-dev", "pkg-config"]),
    ("flask-mysqldb", &["default-libmysqlclient-dev", "pkg-config"]),
    ("uwsgi", &[]),
    ("python-ldap", &["libldap2-dev", "libsasl2-dev"]),
    ("pycairo", &["libcairo2-dev", "pkg-config"]),
    ("xmlsec", &["libxmlsec1-dev", "libxmlsec1-openssl", "pkg-config"]),
    ("python3-saml", &["libxmlsec1-dev", "libxmlsec1-openssl", "pkg-config"]),
    ("pyodbc", &["unixodbc-dev", "g++"]),
    ("pycurl", &["libcurl4-openssl-dev", "libssl-dev"]),
    ("pymssql", &["freetds-dev"]),
    ("pygraphviz", &["libgraphviz-dev", "pkg-config"]),
    ("gdal", &["libgdal-dev", "g++"]),
    ("dbus-python", &["libdbus-1-dev", "pkg-config"]),
    ("python-snappy", &["libsnappy-dev", "g++"]),
    ("pyaudio", &["portaudio19-dev"]),
];

/// Python packages that only work with a library that wheels do not bring.
const LIBRARIES: [(&str, &[&str]); 6] = [
    ("weasyprint", &["libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0"]),
    ("python-magic", &["libmagic1"]),
    ("cairosvg", &["libcairo2"]),
    ("pdf2image", &["poppler-utils"]),
    ("pytesseract", &["tesseract-ocr"]),
    ("opencv-python", &["libgl1", "libglib2.0-0"]),
];

/// Returns the Debian packages that are needed, and for which Python packages.
pub(crate) fn find(source: &Source, manifest: &Manifest) -> Option<(Vec<String>, String)> {
    let mut packages: Vec<&str> = Vec::new();
    let mut because: Vec<&str> = Vec::new();
    // psycopg2 has a wheel under another name; psycopg2-binary is compiled by nobody.
    for (name, more) in COMPILED.iter().filter(|(name, _)| manifest.anywhere.contains_key(*name)) {
        packages.extend(COMPILER.iter().chain(more.iter()));
        because.push(name);
    }
    for (name, more) in LIBRARIES.iter().filter(|(name, _)| manifest.anywhere.contains_key(*name)) {
        packages.extend(more.iter());
        because.push(name);
    }
    let files = [
        "requirements.txt",
        "pyproject.toml",
        "Pipfile",
        "requirements/base.txt",
        "requirements/prod.txt",
        "setup.py",
    ];
    let from_git = files.iter().any(|file| {
        source.text(&manifest.path(file)).is_some_and(|text| text.contains("git+") || text.contains("git = "))
    });
    if from_git {
        packages.push("git");
        because.push("what is installed from git");
    }
    let mut once: Vec<String> = Vec::new();
    for package in packages {
        if !once.iter().any(|known| known == package) {
            once.push(package.to_owned());
        }
    }
    (!once.is_empty()).then(|| (once, format!("needed by {}", because.join(", "))))
}

/// Returns those of the packages that are still needed when everything is compiled.
pub(crate) fn at_run_time(packages: &[String]) -> Vec<String> {
    let tools = [
        "gcc",
        "g++",
        "libc6-dev",
        "make",
        "pkg-config",
        "git",
        "build-essential",
        "python3-dev",
        "cmake",
        "rustc",
        "cargo",
    ];
    let library = |package: &str| match package {
        "libpq-dev" => "libpq5".to_owned(),
        "default-libmysqlclient-dev" => "libmariadb3".into(),
        "libcairo2-dev" => "libcairo2".into(),
        "unixodbc-dev" => "unixodbc".into(),
        "portaudio19-dev" => "libportaudio2".into(),
        other => other.to_owned(),
    };
    packages
        .iter()
        .filter(|package| !tools.contains(&package.as_str()))
        .map(|package| library(package))
        .collect()
}
