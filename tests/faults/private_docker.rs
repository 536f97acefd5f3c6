//! A Docker engine of the test's own, which may be killed: the machine's own is in use by others.
//!
//! It has its own folders, socket and containerd. Its bridge is a network of the machine's engine, which also lets it
//! out to the package index; it touches no firewall rule itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::yard::{docker, sh, wait_for};

const BASE_IMAGE: &str = "python:3.12-slim";

/// The engine, and all that it made.
pub struct PrivateDocker {
    folder: TempDir,
    /// The network of the machine's engine, and the name of its bridge.
    bridge: String,
    daemon: Option<Child>,
}

impl PrivateDocker {
    /// Starts an engine and gives it the base image.
    ///
    /// # Panics
    ///
    /// When this machine can't have one. `./run test` promises that it can: root, or sudo without a password.
    pub fn start() -> Self {
        let bridge = format!("lf{}", std::process::id());
        let bridge_name = format!("com.docker.network.bridge.name={bridge}");
        let label = format!("landfall.test={}", std::process::id());
        docker(&["network", "create", "--label", &label, "--opt", &bridge_name, &bridge]);
        let mut engine = Self { folder: TempDir::new().unwrap(), bridge, daemon: None };
        engine.up();
        let copy = format!("docker save {BASE_IMAGE} | docker --host {} load", engine.host());
        sh(Command::new("sh").args(["-c", &copy]));
        engine
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Starts the daemon, and waits until it answers.
    pub fn up(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        // A daemon that was killed leaves them, and another process may have the number by now.
        for stale in ["docker.pid", "exec/containerd/containerd.pid"] {
            let _ = fs::remove_file(at(stale));
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(at("log")).unwrap();
        let namespace = format!("landfall-test-{}", std::process::id());
        // It ends with this process, however that ends.
        let mut command = as_root("setpriv");
        command
            .args(["--pdeathsig", "KILL", "dockerd"])
            .args([
                "--data-root".as_ref(),
                at("data").as_os_str(),
                "--exec-root".as_ref(),
                at("exec").as_os_str(),
            ])
            .args(["--pidfile".as_ref(), at("docker.pid").as_os_str()])
            .args(["--host", &self.host(), "--bridge", &self.bridge])
            .args(["--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            // Where containerd is a service of the machine, both engines share it.
            .args(["--containerd-namespace", &namespace])
            .args(["--containerd-plugins-namespace", &format!("{namespace}-plugins")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.daemon = Some(command.spawn().expect("setpriv, of util-linux"));
        wait_for("the second Docker engine", || {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().ok().flatten());
            assert!(ended.is_none(), "a second Docker engine can't be started here: {}", self.last_words());
            self.answers().then_some(())
        });
    }

    /// Ends the daemon: with KILL as a crash would, with TERM as an upgrade does.
    pub fn down(&mut self, signal: &str) {
        let pid = fs::read_to_string(self.folder.path().join("docker.pid")).unwrap();
        sh(as_root("kill").args([&format!("-{signal}"), pid.trim()]));
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait().unwrap();
        }
    }

    fn answers(&self) -> bool {
        let asked = Command::new("docker").args(["--host", &self.host(), "version"]).output();
        asked.is_ok_and(|output| output.status.success())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for PrivateDocker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the second Docker engine's log ends so ---\n{}", self.last_words());
        }
        if self.daemon.is_some() {
            let left =
                Command::new("docker").args(["--host", &self.host(), "ps", "--all", "--quiet"]).output();
            let left = left.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            let remove = ["--host", &self.host(), "rm", "--force", "--volumes"];
            let ids = left.unwrap_or_default();
            let _ = Command::new("docker").args(remove).args(ids.split_whitespace()).output();
            let pid = fs::read_to_string(self.folder.path().join("docker.pid")).unwrap_or_default();
            let _ = as_root("kill").args(["-TERM", pid.trim()]).status();
            let _ = self.daemon.take().map(|mut daemon| daemon.wait());
        }
        for mount in mounts_below(self.folder.path()) {
            let _ = as_root("umount").arg("--lazy").arg(mount).output();
        }
        // What the daemon wrote belongs to root.
        for name in ["data", "exec"] {
            let _ =
                as_root("rm").args(["--recursive", "--force"]).arg(self.folder.path().join(name)).output();
        }
        let _ = Command::new("docker").args(["network", "rm", &self.bridge]).output();
    }
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    places.filter(|place| place.starts_with(folder)).collect()
}

/// Returns a command that runs as root: at once, or through sudo where that asks no password.
fn as_root(program: &str) -> Command {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout == b"0\n" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
