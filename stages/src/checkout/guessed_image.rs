//! An image that was guessed from the version of Python that a source names, where it can't be had.
//!
//! An app that says 3.11 mostly runs with 3.12 as well. So a guess that no registry within reach can serve gives way to
//! an image that is here, and says so; an image that somebody wrote down never does.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall_engine::core::facts::Guess;
use landfall_engine::core::settings::TestSettings;

use crate::config::Configured;
use crate::context::Context;

/// How long the registry of the image may take to say that it has it.
const REGISTRY_LIMIT: Duration = Duration::from_secs(15);

/// Returns the settings with images that can be had.
pub(super) async fn within_reach(context: &Context, mut configured: Configured) -> Configured {
    let usual = TestSettings::default().image;
    // Both are mostly the same image, and a registry that does not answer is waited for.
    let mut served: BTreeMap<String, bool> = BTreeMap::new();
    for key in ["test.image", "build.image"] {
        let Some(guess) = configured.guesses.iter().position(|guess| guess.key == key) else { continue };
        let Guess { value, reason, .. } = configured.guesses[guess].clone();
        if value == usual || is_here(context, &value).await || !is_here(context, &usual).await {
            continue;
        }
        if !served.contains_key(&value) {
            served.insert(value.clone(), is_served(context, &value).await);
        }
        if served[&value] {
            continue;
        }
        match key {
            "test.image" => configured.settings.test.image.clone_from(&usual),
            _ => configured.settings.build.image = Some(usual.clone()),
        }
        let reason = format!("{reason}, and {value} is neither here nor served by a registry within reach");
        configured.guesses[guess] = Guess { key: key.to_owned(), value: usual.clone(), reason };
    }
    configured
}

async fn is_here(context: &Context, image: &str) -> bool {
    context.docker.ask(context.docker.api().inspect_image(image)).await.is_ok()
}

async fn is_served(context: &Context, image: &str) -> bool {
    let asking = context.docker.api().inspect_registry_image(image, None);
    tokio::time::timeout(REGISTRY_LIMIT, asking).await.is_ok_and(|answer| answer.is_ok())
}
