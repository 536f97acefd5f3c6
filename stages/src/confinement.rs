//! What a container may not do, and how much it may take: the same for tests, release commands, checks and apps.
//!
//! ```text
//! all capabilities ── dropped ──▶ KEPT          no-new-privileges: a setuid program gives none back
//! ```
//!
//! Docker's own default leaves fourteen capabilities. What is kept of them here is what an ordinary image does as
//! root before it serves as somebody else.

use std::collections::HashMap;

use bollard::models::{HostConfig, Mount, MountType};
use landfall_engine::core::settings::{DeploySettings, Settings, TestSettings};

use crate::plan;

/// What root in a container still may, each for its reason. Gone are raw sockets, by which a container could answer in
/// the name of its neighbours; device nodes; file capabilities; chroot; and writing into the audit log.
const KEPT: [&str; 7] = [
    // Entrypoints and installers hand files over to the user that the app runs as.
    "CHOWN",
    // Root writes into folders that belong to that user: pip, caches, uploaded sources.
    "DAC_OVERRIDE",
    // Root sets modes and times of such files, as tar and pip do.
    "FOWNER",
    // A gunicorn that was started as root ends workers that run as somebody else.
    "KILL",
    // Apps that listen on port 80, on engines that do not open low ports to everybody.
    "NET_BIND_SERVICE",
    // gosu, su-exec, `gunicorn --user`, apt: from root to another user and its groups.
    "SETGID",
    "SETUID",
];

/// A release command or a check is one program and its children.
const PIDS_MAX: u64 = 1_024;

/// CPU time is dealt out in slices of this length, in microseconds: Docker's own.
const CPU_PERIOD_US: i64 = 100_000;

const MIB: u64 = 1024 * 1024;

/// Where an app may write whose disk is read-only: gunicorn's heartbeat and large uploads are kept there. In memory,
/// so it counts to the container's limit.
const TMP: (&str, &str) = ("/tmp", "rw,nosuid,nodev,noexec,size=256m,mode=1777");

/// How much a container may take. None: as much as there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    memory_mb: Option<u64>,
    cpu_millis: Option<u64>,
    pids: u64,
}

impl Limits {
    /// For a program of ours, or one that has no limits of its own.
    pub(crate) const USUAL: Self = Self { memory_mb: None, cpu_millis: None, pids: PIDS_MAX };

    /// For the tests.
    pub(crate) fn of_tests(settings: &TestSettings) -> Self {
        let TestSettings { memory_mb, cpu_millis, pids, .. } = settings;
        Self { memory_mb: Some(*memory_mb), cpu_millis: Some(*cpu_millis), pids: *pids }
    }

    /// For the app, and for its release command: the version that serves shall not suffer from that.
    pub(crate) fn of_app(settings: &DeploySettings) -> Self {
        let DeploySettings { memory_mb, cpu_millis, pids, .. } = settings;
        Self { memory_mb: *memory_mb, cpu_millis: *cpu_millis, pids: *pids }
    }

    /// Sets these limits in the place of others.
    pub(crate) fn apply(self, host: &mut HostConfig) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let memory = self.memory_mb.map(|mb| whole(mb.saturating_mul(MIB)));
        host.memory = memory;
        // Without it as much again could be swapped, and the limit would make things slow instead of ending them.
        host.memory_swap = memory;
        host.pids_limit = Some(whole(self.pids));
        // A quota, not `NanoCpus`: Docker refuses that one when it is more than the machine has.
        host.cpu_period = self.cpu_millis.map(|_| CPU_PERIOD_US);
        host.cpu_quota = self.cpu_millis.map(|cpu| whole(cpu).saturating_mul(CPU_PERIOD_US / 1_000));
    }
}

/// Returns what the host grants every container of ours.
pub(crate) fn host_config(limits: Limits) -> HostConfig {
    let mut host = HostConfig {
        // Without it PID 1 is deaf to TERM, and every stop takes the whole grace.
        init: Some(true),
        log_config: Some(plan::log_config()),
        security_opt: Some(vec!["no-new-privileges".into()]),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(KEPT.map(str::to_owned).to_vec()),
        ..HostConfig::default()
    };
    limits.apply(&mut host);
    host
}

/// Makes the disk of the app's container read-only, if its settings say so.
///
/// The folders of secret files become volumes of this container alone: what is laid into them before the start is
/// there after each restart, as it would not be in memory.
pub(crate) fn make_read_only(host: &mut HostConfig, settings: &Settings) {
    if !settings.deploy.read_only {
        return;
    }
    host.readonly_rootfs = Some(true);
    let (tmp, options) = TMP;
    host.tmpfs = Some(HashMap::from([(tmp.to_owned(), options.to_owned())]));
    let mut folders: Vec<&str> =
        settings.env.files.keys().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
    folders.dedup();
    let volume = |folder: &str| Mount {
        typ: Some(MountType::VOLUME),
        target: Some(folder.to_owned()),
        ..Mount::default()
    };
    host.mounts = (!folders.is_empty()).then(|| folders.into_iter().map(volume).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_may_only_what_an_ordinary_image_needs() {
        let settings =
            DeploySettings { memory_mb: Some(256), cpu_millis: Some(500), ..DeploySettings::default() };
        let host = serde_json::to_value(host_config(Limits::of_app(&settings))).unwrap();
        let expected = serde_json::json!({
            "Memory": 268_435_456,
            "MemorySwap": 268_435_456,
            "PidsLimit": 4_096,
            "CpuPeriod": 100_000,
            "CpuQuota": 50_000,
            "Init": true,
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "20m", "max-file": "2" } },
            "SecurityOpt": ["no-new-privileges"],
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"],
        });
        assert_eq!(host, expected);
    }

    #[test]
    fn a_read_only_app_writes_to_tmp_alone_and_keeps_its_secret_files_in_volumes_of_its_own() {
        let mut settings = Settings::default();
        let mut host = HostConfig::default();
        make_read_only(&mut host, &settings);
        assert_eq!(host, HostConfig::default());
        settings.deploy.read_only = true;
        for path in ["/run/secrets/a.pem", "/run/secrets/b.pem", "/srv/keys/c"] {
            settings.env.files.insert(path.into(), "KEY".into());
        }
        make_read_only(&mut host, &settings);
        let shown = serde_json::to_value(&host).unwrap();
        let expected = serde_json::json!({
            "ReadonlyRootfs": true,
            "Tmpfs": { "/tmp": "rw,nosuid,nodev,noexec,size=256m,mode=1777" },
            "Mounts": [
                { "Type": "volume", "Target": "/run/secrets" },
                { "Type": "volume", "Target": "/srv/keys" },
            ],
        });
        assert_eq!(shown, expected);
    }
}
