//! `Procfile`, and files of variables: `.flaskenv`, `.env.example`.

use super::source::Source;

/// Returns the command of a process: `web: gunicorn app:app`.
pub(crate) fn process(procfile: &str, name: &str) -> Option<String> {
    procfile.lines().find_map(|line| {
        let (found, command) = line.split_once(':')?;
        let command = command.trim();
        (found.trim() == name && !command.is_empty()).then(|| command.to_owned())
    })
}

/// Returns the app that gunicorn is told to serve: `shop.web:app`.
pub(crate) fn served(source: &Source) -> Option<String> {
    let command = process(&source.text("Procfile")?, "web")?;
    let (_, rest) = command.split_once("gunicorn")?;
    let mut words = rest.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
    let is_app = |word: &&str| {
        let (module, object) = word.split_once(':').unwrap_or_default();
        let path = module.replace('.', "/");
        let is_there = source.has(&format!("{path}.py")) || source.has(&format!("{path}/__init__.py"));
        is_there && object.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    };
    words.find(is_app).map(str::to_owned)
}

/// Files that say what a developer's environment is.
const ENV_FILES: [&str; 8] = [
    ".flaskenv",
    ".env",
    ".env.example",
    ".env.sample",
    ".env.template",
    "env.example",
    "example.env",
    ".env-example",
];

/// Returns the value of a variable in the files that hold them, with the file.
pub(crate) fn variable(source: &Source, name: &str) -> Option<(String, String)> {
    ENV_FILES.iter().find_map(|file| {
        let value = value_in(&source.text(file)?, name)?;
        Some((value, (*file).to_owned()))
    })
}

fn value_in(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (found, value) = line.split_once('=')?;
        let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        (found.trim() == name && !value.is_empty()).then(|| value.to_owned())
    })
}

/// Returns the names of the variables that an example of an environment has.
pub(crate) fn example(source: &Source) -> Option<(String, Vec<String>)> {
    ENV_FILES
        .iter()
        .filter(|file| file.contains("example") || file.contains("sample") || file.contains("template"))
        .find_map(|file| {
            let text = source.text(file)?;
            let names = text.lines().filter_map(|line| {
                let name =
                    line.trim().strip_prefix("export ").unwrap_or(line.trim()).split_once('=')?.0.trim();
                super::python::is_identifier(name).then(|| name.to_owned())
            });
            Some(((*file).to_owned(), names.collect()))
        })
}
