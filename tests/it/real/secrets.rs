//! A secret that is set while the server runs reaches the app, and is nowhere where it could be found.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::real::yard::{App, Server, Yard, docker, said, sh};

/// Symbols that each encoding writes in its own way; long enough to be found by any of them.
const VALUE: &str = "c0rrect/horse+battery=staple?&of the shop";
const IN_BASE64: &str = "YzBycmVjdC9ob3JzZStiYXR0ZXJ5PXN0YXBsZT8mb2YgdGhlIHNob3";
const IN_A_URL: &str = "c0rrect%2Fhorse%2Bbattery%3Dstaple%3F%26of";
const KEY_LINE: &str = "TheOnlyLineOfTheKeyOfTheShop";
const FORMS: [&str; 4] = [VALUE, IN_BASE64, IN_A_URL, KEY_LINE];
const KEY: &str = "-----BEGIN KEY-----\nTheOnlyLineOfTheKeyOfTheShop\n-----END KEY-----\n";

/// Prints the secret in every form when the app starts.
const LEAK: &str = r#"

def _leak():
    import base64, os, urllib.parse
    value = os.environ["SHOP_TOKEN"]
    print("raw", value, "base64", base64.b64encode(value.encode()).decode(), flush=True)
    print("url", urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), flush=True)
    print(open("/run/secrets/shop.pem").read(), flush=True)


import os as _os

if "SHOP_TOKEN" in _os.environ:
    _leak()
"#;

/// Tells which of the secret's forms a text holds.
fn found_in(bytes: &[u8]) -> Vec<&'static str> {
    FORMS
        .into_iter()
        .filter(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
        .collect()
}

fn search(folder: &Path, files: &mut usize) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        // What is removed meanwhile holds nothing any more.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => search(&path, files),
            Ok(kind) if kind.is_file() => {
                let found = found_in(&fs::read(&path).unwrap_or_default());
                assert!(found.is_empty(), "{} holds {found:?}", path.display());
                *files += 1;
            }
            _ => {}
        }
    }
}

/// Returns the command lines of all processes.
fn processes() -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        lines.extend(fs::read(entry.path().join("cmdline")).unwrap_or_default());
    }
    lines
}

fn set(yard: &Yard, name: &str, value: &str) {
    let mut setting = yard.landfall();
    let mut setting = setting.args(["secret", "set", "hello", name]).stdin(Stdio::piped()).spawn().unwrap();
    // It has its arguments, and waits for the value.
    assert!(found_in(&processes()).is_empty());
    setting.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    assert!(setting.wait().unwrap().success());
}

#[test]
fn a_secret_set_through_the_server_reaches_the_app_and_is_found_nowhere_else() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let server = Server::start(&yard);
    app.edit("landfall.toml", |text| {
        text + "\n[env]\nsecret = [\"SHOP_TOKEN\"]\nfiles = { \"/run/secrets/shop.pem\" = \"SHOP_KEY\" }\n"
    });
    app.edit("app.py", |text| text + LEAK);
    app.version("1.0.0");

    // Without the secret it is red, and says what to do.
    app.push(&server);
    let failed = server.ended();
    assert_ne!(failed["state"], "live");
    let told = sh(yard.landfall().args(["show", failed["id"].as_str().unwrap()]));
    assert!(told.contains("landfall secret set hello SHOP_"), "{told}");

    set(&yard, "SHOP_TOKEN", &format!("{VALUE}\n"));
    set(&yard, "SHOP_KEY", KEY);
    let listed = sh(yard.landfall().args(["secret", "list", "hello"]));
    assert!(listed.contains("SHOP_TOKEN") && found_in(listed.as_bytes()).is_empty(), "{listed}");
    app.version("1.0.1");
    let pushed = app.push(&server);
    assert_eq!(server.newest()["state"], "live", "{}", said(&pushed));

    // The app has it, and Docker shows of its variables what it always shows.
    let [container] = yard.containers().try_into().unwrap();
    let printed = said(&yard.docker(&["logs", &container]).output().unwrap());
    assert!(printed.contains(&format!("raw {VALUE}")) && printed.contains(KEY.trim()), "{printed}");

    assert!(found_in(&pushed.stderr).is_empty() && found_in(&pushed.stdout).is_empty(), "{}", said(&pushed));
    assert!(found_in(yard.server_log().as_bytes()).is_empty());
    assert!(found_in(&processes()).is_empty());
    let mut files = 0;
    search(yard.data.path(), &mut files);
    assert!(files > 10, "the search saw {files} files");
    let image = docker(&["inspect", "--format", "{{.Image}}", &container]);
    let saved = yard.data.path().join("image.tar");
    docker(&["save", "--output", saved.to_str().unwrap(), &image]);
    assert!(fs::metadata(&saved).unwrap().len() > 1_000_000, "the image was saved");
    for form in FORMS {
        let searched =
            Command::new("grep").args(["-q", "-a", "-F", "-e", form]).arg(&saved).status().unwrap();
        assert_eq!(searched.code(), Some(1), "{form} is in the image");
    }
    fs::remove_file(&saved).unwrap();
    let history = docker(&["history", "--no-trunc", &image]) + &docker(&["inspect", &image]);
    assert!(found_in(history.as_bytes()).is_empty());
    let inspected = docker(&["inspect", &container]);
    assert_eq!(found_in(inspected.as_bytes()), [VALUE], "variables are shown by Docker, files are not");

    // What the app prints before it dies is evidence, and is shown without the secrets.
    app.edit("app.py", |text| text + "    raise SystemExit('died on purpose')\n");
    app.version("1.0.2");
    let pushed = app.push(&server);
    assert_ne!(server.newest()["state"], "live");
    let shown = said(&pushed);
    assert!(shown.contains("raw *** base64 ***") && shown.contains("died on purpose"), "{shown}");
    assert!(found_in(shown.as_bytes()).is_empty(), "{shown}");
    search(yard.data.path(), &mut files);
    server.stop();
}
