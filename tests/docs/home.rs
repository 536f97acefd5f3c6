//! A home of somebody who reads a page: a clone of this repository, an app in a git repository, the commands of the page, a
//! Docker engine and a registry.
//!
//! The ports of the documentation are everybody's, so here they are others: in the text of the page, and by way of a `landfall`
//! that adds what it would take by itself. Nothing else is different.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::page::root;
use crate::yard::{Inbox, TOKEN, free_port, landfall, said, sh, wait_for};

/// How long a page may take. The longest has three deploys.
const PATIENCE: Duration = Duration::from_secs(150);

/// An app that has never heard of Landfall.
const BLOG: &str = "\
from flask import Flask

app = Flask(__name__)


@app.get(\"/health\")
def health():
    return \"ok\"
";

/// What is there when a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// No server, and no registry: the page starts both.
    Bare,
    /// A server that takes pushes.
    Server,
    /// The same, and the app is live.
    Live,
}

pub struct Home {
    folder: TempDir,
    registry: Option<Child>,
    registry_port: u16,
    api_port: u16,
    proxy_port: u16,
    forge: Inbox,
    server: Option<Child>,
}

impl Home {
    pub fn new(begins: Begins) -> Self {
        let mut home = Self {
            folder: TempDir::new().unwrap(),
            registry: None,
            registry_port: free_port(),
            api_port: free_port(),
            proxy_port: free_port(),
            forge: Inbox::start(),
            server: None,
        };
        home.lay_out();
        if begins != Begins::Bare {
            home.keep_images();
            home.serve();
            home.is_done("git -C ~/src/shop remote add live http://landfall:$LANDFALL_TOKEN@127.0.0.1:7070/git/shop.git");
        }
        if begins == Begins::Live {
            home.is_done(
                "git -C ~/src/shop push --quiet live main && curl -fso /dev/null http://127.0.0.1:8080/",
            );
        }
        home
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join(".local/share/landfall")
    }

    /// Returns a text of the documentation with the ports and hosts that are here.
    pub fn here(&self, text: &str) -> String {
        let forge = self.forge.url.trim_end_matches("/hook");
        text.replace("127.0.0.1:7070", &format!("127.0.0.1:{}", self.api_port))
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.proxy_port))
            .replace("127.0.0.1:5000", &format!("127.0.0.1:{}", self.registry_port))
            .replace("https://api.github.com", forge)
            // Nobody listens there, and nothing leaves this machine.
            .replace("github.com", "127.0.0.1:9")
    }

    fn lay_out(&self) {
        // What is in every image is sent once, and not by each page: a minute of the engine's time each.
        let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs-registry");
        fs::create_dir_all(&images).unwrap();
        symlink(images, self.path().join("registry")).unwrap();
        let clone = self.path().join("landfall");
        fs::create_dir_all(&clone).unwrap();
        for name in ["README.md", "examples", "api", "run"] {
            symlink(root().join(name), clone.join(name)).unwrap();
        }
        self.command("bin/landfall", &self.landfall_with_ports());
        // A build takes minutes and has been made: what is asked for has to be right all the same.
        let build = "test \"$*\" = 'build --release -p landfall' || { echo \"cargo $*?\" >&2; exit 64; }\n\
                     mkdir -p target/release && ln -sf ~/bin/landfall target/release/landfall";
        self.command("bin/cargo", build);

        let shop = self.path().join("src/shop");
        fs::create_dir_all(&shop).unwrap();
        sh(Command::new("cp").arg("-r").arg(root().join("examples/hello-flask/.")).arg(&shop));
        fs::remove_file(shop.join("README.md")).unwrap();
        self.configure("");
        let blog = self.path().join("src/blog");
        fs::create_dir_all(&blog).unwrap();
        fs::write(blog.join("app.py"), BLOG).unwrap();
        fs::write(blog.join("requirements.txt"), "flask==3.1.2\n").unwrap();
        self.is_done(
            "git config --global user.name Ada && git config --global user.email ada@example.com
             cd ~/src/shop && git init --quiet --initial-branch=main && git add --all && git commit --quiet -m 'A shop'
             cd ~/src/blog && git init --quiet --initial-branch=main && git add --all && git commit --quiet -m 'A blog'",
        );
    }

    /// Writes the app's configuration. Where the registry is differs from everybody's in each of them.
    pub fn configure(&self, text: &str) {
        let registry = format!("[registry]\nserver = \"127.0.0.1:{}\"\n", self.registry_port);
        fs::write(self.path().join("src/shop/landfall.toml"), format!("{}\n{registry}", self.here(text)))
            .unwrap();
    }

    /// Returns a `landfall` that takes other ports than everybody's, unless it is told which.
    fn landfall_with_ports(&self) -> String {
        format!(
            "case \"$1 $*\" in\n\
             serve*--listen*) ;;\n\
             serve*) set -- \"$@\" --listen 127.0.0.1:{} --proxy-listen 127.0.0.1:{} ;;\n\
             run*) [ -e {}/proxy ] || set -- \"$@\" --proxy-listen 127.0.0.1:{} ;;\n\
             esac\n\
             exec {} \"$@\"",
            self.api_port,
            self.proxy_port,
            self.data().display(),
            self.proxy_port,
            landfall().display(),
        )
    }

    fn command(&self, name: &str, script: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Returns a shell with a reader's environment, and nothing of the tester's.
    fn shell(&self, script: &Path) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail"])
            .arg(script)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("USER", "ada")
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", self.path().join("bin").display()))
            .env("TERM", "dumb")
            .env("LANG", "C.UTF-8")
            .env("GIT_TERMINAL_PROMPT", "0")
            // A key in /etc would be the machine's.
            .env("LANDFALL_VAULT_KEY_FILE", self.path().join(".config/landfall/vault.key"))
            .envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)))
            .stdin(Stdio::null())
            // Whatever it starts can be ended with it.
            .process_group(0);
        if self.registry.is_some() {
            shell.env("LANDFALL_TOKEN", TOKEN).env("GITHUB_TOKEN", "a-token-of-github");
        }
        shell
    }

    fn keep_images(&mut self) {
        let script = self.path().join(".registry");
        let config = "version: 0.1\nstorage: { filesystem: { rootdirectory: $HOME/registry } }\nhttp: { addr: 127.0.0.1:5000 }";
        let start = format!(
            "cat > ~/.registry.yml <<END\n{config}\nEND\nexec docker-registry serve ~/.registry.yml\n"
        );
        fs::write(&script, self.here(&start)).unwrap();
        let mut command = self.shell(&script);
        self.registry = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_for("the registry", || TcpStream::connect(("127.0.0.1", self.registry_port)).ok());
    }

    fn serve(&mut self) {
        let script = self.path().join(".serve");
        fs::write(&script, "exec landfall serve").unwrap();
        let log = fs::File::create(self.path().join("server.log")).unwrap();
        let mut command = self.shell(&script);
        self.server = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let health = self.here("http://127.0.0.1:7070/healthz");
        wait_for("the server", || {
            let asked = Command::new("curl").args(["-fso", "/dev/null", &health]).status().unwrap();
            asked.success().then_some(())
        });
    }

    /// Runs what has to be there before a page begins.
    #[track_caller]
    fn is_done(&self, script: &str) {
        let path = self.path().join(".before");
        fs::write(&path, self.here(script)).unwrap();
        let output = self.shell(&path).output().unwrap();
        assert!(output.status.success(), "{script}: {}\n{}", said(&output), self.server_log());
    }

    fn server_log(&self) -> String {
        fs::read_to_string(self.path().join("server.log")).unwrap_or_default()
    }

    /// Runs a page's script to its end, and ends what it left running; panics with what was printed when it fails.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let path = self.path().join(".page");
        fs::write(&path, self.here(script)).unwrap();
        let log = self.path().join(".printed");
        let file = fs::File::create(&log).unwrap();
        let mut shell = self.shell(&path).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let since = Instant::now();
        let status = loop {
            if let Some(status) = shell.try_wait().unwrap() {
                break Some(status);
            }
            if since.elapsed() > PATIENCE {
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        end_group(shell.id());
        let printed = fs::read_to_string(&log).unwrap_or_default();
        let is_good = status.is_some_and(|status| status.success());
        let how = status.map_or("did not end".to_owned(), |status| status.to_string());
        assert!(is_good, "{how}:\n{printed}\n--- the server ---\n{}", self.server_log());
        printed
    }

    /// Removes what Docker has of this home's log.
    fn clear_docker(&self) {
        let Ok(meta) = fs::read_to_string(self.data().join("META")) else { return };
        let is_id = |word: &&str| word.len() == 36 && word.matches('-').count() == 4;
        let Some(log) = meta.split(|c: char| !c.is_ascii_hexdigit() && c != '-').find(is_id) else { return };
        let filter = format!("label=landfall.log={log}");
        for (list, remove) in [
            (vec!["ps", "-aq"], vec!["rm", "-fv"]),
            (vec!["images", "-q"], vec!["rmi", "-f"]),
            (vec!["volume", "ls", "-q"], vec!["volume", "rm", "-f"]),
            (vec!["network", "ls", "-q"], vec!["network", "rm"]),
        ] {
            let found = Command::new("docker").args(list).args(["--filter", &filter]).output();
            let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            for id in found.unwrap_or_default().lines() {
                let _ = Command::new("docker").args(&remove).arg(id).output();
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for mut process in [self.server.take(), self.registry.take()].into_iter().flatten() {
            end_group(process.id());
            let _ = process.wait();
        }
        if let Ok(pid) = fs::read_to_string(self.data().join("proxy/proxy.pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).output();
        }
        self.clear_docker();
    }
}

/// Ends a process that we started, and all of its group.
fn end_group(leader: u32) {
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{leader}")]).output();
}
