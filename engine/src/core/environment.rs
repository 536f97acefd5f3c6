//! One app in several environments: what differs between them, and which branch goes where.
//!
//! The settings of a run are those of its own environment, and know those of the others: a release that is
//! promoted is configured by its own commit, not by what the target was configured with before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::{
    DeploySettings, EnvSettings, NotifySettings, ProxySettings, ReleaseSettings, RollbackSettings, Settings,
    SmokeCheck,
};

/// The environment of what names none.
pub const PRODUCTION: &str = "production";

/// `[env.NAME]`: what an environment has of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Environment {
    /// Branches that are deployed to it.
    pub branches: Vec<String>,
    /// Its configuration, with what it takes over from the file's own sections filled in.
    pub sections: Sections,
}

/// What may differ between environments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Sections {
    /// What the app finds in its environment.
    pub env: EnvSettings,
    /// The command that is run once before the deploy, if there is one.
    pub release: Option<ReleaseSettings>,
    /// How traffic reaches the app.
    pub proxy: ProxySettings,
    /// How the app is deployed.
    pub deploy: DeploySettings,
    /// What must hold of the candidate before it gets traffic.
    pub smoke: Vec<SmokeCheck>,
    /// What happens when a deploy turns red.
    pub rollback: RollbackSettings,
    /// Who is told.
    pub notify: NotifySettings,
}

impl Sections {
    /// Returns the sections of these settings, as they are in force.
    pub fn of(settings: &Settings) -> Self {
        Self {
            env: settings.env.clone(),
            release: settings.release.clone(),
            proxy: settings.proxy.clone(),
            deploy: settings.deploy.clone(),
            smoke: settings.smoke.clone(),
            rollback: settings.rollback.clone(),
            notify: settings.notify.clone(),
        }
    }
}

/// The environments of an app, beside the sections that are in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Environments {
    /// What the file says of each.
    pub named: BTreeMap<String, Environment>,
    /// The file's own sections, while those of an environment are in force. None: they are in force themselves.
    pub own: Option<Box<Sections>>,
}

impl Environments {
    /// Tells whether the file names none, as most do: then nothing is recorded of them.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.own.is_none()
    }
}

impl Settings {
    /// Returns these settings with the sections of an environment in force: its own, or else the file's.
    #[must_use]
    pub fn for_environment(self, env: &str) -> Self {
        let Environments { named, own } = self.environments.clone();
        let file = own.unwrap_or_else(|| Box::new(Sections::of(&self)));
        let (sections, own) = match named.get(env) {
            Some(environment) => (environment.sections.clone(), Some(file)),
            None => (*file, None),
        };
        let Sections { env, release, proxy, deploy, smoke, rollback, notify } = sections;
        let environments = Environments { named, own };
        Self { env, release, proxy, deploy, smoke, rollback, notify, environments, ..self }
    }

    /// Returns the environment to which a push of this branch is deployed, if it is to one: the one that names the
    /// branch, else production for what `[on.push]` names.
    pub fn environment_of(&self, branch: &str) -> Option<&str> {
        let names = |(_, environment): &(&String, &Environment)| {
            environment.branches.iter().any(|deployed| deployed == branch)
        };
        match self.environments.named.iter().find(names) {
            Some((env, _)) => Some(env),
            None => self.on_push.names(branch).then_some(PRODUCTION),
        }
    }

    /// Returns every branch of which a push is deployed.
    pub fn deployed_branches(&self) -> impl Iterator<Item = &String> {
        let of_environments = self.environments.named.values().flat_map(|environment| &environment.branches);
        self.on_push.branches.iter().chain(of_environments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_host(host: &str) -> ProxySettings {
        ProxySettings { host: Some(host.into()), ..ProxySettings::default() }
    }

    fn settings() -> Settings {
        let sections = Sections { proxy: with_host("staging.example.com"), ..Sections::default() };
        let staging = Environment { branches: vec!["next".into()], sections };
        Settings {
            proxy: with_host("shop.example.com"),
            environments: Environments { named: [("staging".to_owned(), staging)].into(), own: None },
            ..Settings::default()
        }
    }

    #[test]
    fn the_settings_of_an_environment_lead_back_to_those_of_any_other() {
        let staging = settings().for_environment("staging");
        assert_eq!(staging.proxy, with_host("staging.example.com"));
        assert_eq!(staging.clone().for_environment("staging"), staging);
        assert_eq!(staging.for_environment(PRODUCTION), settings());
        assert_eq!(settings().for_environment(PRODUCTION), settings());
    }

    #[test]
    fn a_branch_goes_to_the_environment_that_names_it_and_else_to_production() {
        let mut settings = settings();
        assert_eq!(settings.environment_of("next"), Some("staging"));
        assert_eq!(settings.environment_of("main"), Some(PRODUCTION));
        assert_eq!(settings.environment_of("topic"), None);
        settings.on_push.branches.push("next".into());
        assert_eq!(settings.environment_of("next"), Some("staging"));
    }

    #[test]
    fn an_app_without_environments_records_nothing_of_them() {
        let text =
            serde_json::to_string(&Settings::default().for_environment("staging")).expect("plain data");
        assert!(!text.contains("environments"), "{text}");
    }
}
