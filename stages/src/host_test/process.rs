//! Finds and kills every process of an attempt, by a variable that they all inherit.
//!
//! A process group loses those that start a session of their own, and its number may be somebody else's once it
//! is empty. The environment that a process was started with can be neither lost nor taken over.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// How often the list of processes is gone through: each pass finds what was started during the one before.
const PASSES_MAX: usize = 20;

/// Kills all processes that were started with `variable=value`.
pub(super) fn kill_all(variable: &str, value: &str) {
    let wanted = format!("{variable}={value}");
    for _ in 0..PASSES_MAX {
        let found = with_environment(wanted.as_bytes());
        if found.is_empty() {
            return;
        }
        for pid in found {
            // One that ended meanwhile, or that is not ours to kill, is no error here.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn with_environment(wanted: &[u8]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        // A process that is killed and not yet reaped has an empty one.
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted))
    })
    .filter_map(Pid::from_raw)
    .collect()
}
