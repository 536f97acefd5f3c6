//! `[env.NAME]`: what an environment has of its own. What it does not say is as in the file's own sections.

use std::collections::BTreeMap;

use landfall_engine::core::environment::Environment;
use landfall_engine::core::environment::Sections;
use landfall_engine::core::settings::EnvSettings;
use landfall_engine::core::settings::Settings;

use super::problem::Problem;
use super::section::Section;
use super::shape;
use super::values;

/// Returns the environments that the tables below `[env]` name; `settings` has what stands above them.
pub(super) fn environments(envs: &mut Section<'_>, settings: &Settings) -> BTreeMap<String, Environment> {
    let mut named: BTreeMap<String, Environment> = BTreeMap::new();
    for (name, section) in envs.named_sections() {
        if !values::is_service(name) {
            let message =
                format!("{name:?} can't be the name of an environment: expected {}", values::SERVICE_RULE);
            section.complain(Problem { at: section.place(), ..Problem::of_file(message) });
        }
        let environment = environment(section, settings, &named);
        named.insert(name.to_owned(), environment);
    }
    named
}

fn environment(
    mut section: Section<'_>,
    settings: &Settings,
    others: &BTreeMap<String, Environment>,
) -> Environment {
    let mut branches = Vec::new();
    section.set("branches", &mut branches, values::list(values::branch));
    for (other, environment) in others {
        if let Some(branch) = environment.branches.iter().find(|branch| branches.contains(branch)) {
            let at = section.place_of("branches").unwrap_or(0..0);
            let message =
                format!("{branch:?} is deployed to {other} already: a branch goes to one environment");
            let help = "deploy it to the first one, and take its releases further with `landfall promote`";
            section.report("branches", Problem::at(at, message).help(help));
        }
    }
    let mut sections = Sections::of(settings);
    sections.env = merged(sections.env, shape::env(&mut section));
    sections.release = shape::release(section.section("release"), settings.release.as_ref());
    shape::proxy(section.section("proxy"), &mut sections.proxy);
    shape::deploy(section.section("deploy"), &mut sections.deploy);
    let checks = section.sections("smoke");
    if section.place_of("smoke").is_some() {
        let mount = sections.proxy.mount.as_ref();
        sections.smoke = checks.into_iter().filter_map(|check| shape::smoke(check, mount)).collect();
    }
    shape::rollback(section.section("rollback"), &mut sections.rollback);
    shape::notify(section.section("notify"), &mut sections.notify);
    section.end();
    Environment { branches, sections }
}

/// A variable is as the environment says, be that in clear text where the file has a secret or the other way round.
fn merged(file: EnvSettings, own: EnvSettings) -> EnvSettings {
    let EnvSettings { mut clear, mut secret, mut files } = file;
    clear.retain(|name, _| !own.secret.contains(name));
    secret.retain(|name| !own.clear.contains_key(name) && !own.secret.contains(name));
    clear.extend(own.clear);
    secret.extend(own.secret);
    files.extend(own.files);
    EnvSettings { clear, secret, files }
}
