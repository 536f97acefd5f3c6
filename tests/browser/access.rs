//! For everybody: what axe says of each page, keys, narrow screens, dark rooms, and how soon there is something to see.

use serde_json::Value;

use crate::browser::{Browser, with_browser};
use crate::world::World;

/// Every page, by what it is called in pictures.
fn pages(world: &World) -> Vec<(&'static str, String)> {
    let seeded = &world.seeded;
    vec![
        ("apps", "/".into()),
        ("runs", "/runs".into()),
        ("app", "/apps/shop".into()),
        ("run-live", format!("/runs/{}", seeded.live)),
        ("run-failed", format!("/runs/{}", seeded.failed)),
        ("run-rolled-back", format!("/runs/{}", seeded.rolled_back)),
        ("run-waiting", format!("/runs/{}", seeded.waiting)),
        ("run-past", format!("/runs/{}?at=6", seeded.rolled_back)),
        ("decision", format!("/runs/{}/reject", seeded.waiting)),
        ("missing", "/nowhere".into()),
    ]
}

/// Waits until the scripts of a page have done what they do at first.
async fn ready(browser: &Browser) {
    browser.until("document.readyState === 'complete'").await;
    browser
        .until("!document.getElementById('viewer') || document.getElementById('viewer').dataset.lines > 0")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_serious_on_any_page_in_light_and_dark() {
    let world = World::start().await;
    with_browser(&world, |browser| async {
        browser.colours("light").await;
        browser.goto("/login").await;
        let mut found = browser.axe().await;
        browser.picture("login", 900).await;
        browser.log_in("/").await;
        for scheme in ["light", "dark"] {
            browser.colours(scheme).await;
            for (name, path) in pages(&world) {
                browser.goto(&path).await;
                ready(&browser).await;
                found.extend(browser.axe().await.into_iter().map(|each| format!("{scheme} {path}: {each}")));
                browser.picture(&format!("{name}-{scheme}"), 1_000).await;
            }
        }
        assert!(found.is_empty(), "{found:#?}");
        browser
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_shows_every_page_without_scrolling_sideways() {
    let world = World::start().await;
    with_browser(&world, |browser| async {
        browser.colours("light").await;
        browser.screen(375, 812, true).await;
        browser.goto("/login").await;
        let mut wide = Vec::new();
        let check = "document.documentElement.scrollWidth";
        wide.push(("/login".to_owned(), browser.value(check).await));
        browser.log_in("/").await;
        for (name, path) in pages(&world) {
            browser.goto(&path).await;
            ready(&browser).await;
            wide.push((path, browser.value(check).await));
            browser.picture(&format!("{name}-phone"), 1_500).await;
            assert_eq!(browser.axe().await, Vec::<String>::new(), "{name}");
        }
        wide.retain(|(_, width)| width.as_u64().is_none_or(|width| width > 375));
        assert!(wide.is_empty(), "{wide:?}");
        browser
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_used_with_the_keyboard_alone() {
    let world = World::start().await;
    with_browser(&world, |browser| async {
        browser.log_in("/").await;
        // The first thing that Tab leads to skips the navigation.
        browser.keys("\u{e004}").await;
        assert_eq!(browser.value("document.activeElement.className").await, "skip");
        browser.keys("gr").await;
        browser.until("location.pathname === '/runs' && document.readyState === 'complete'").await;
        browser.keys("jj").await;
        let second = browser.value("document.querySelectorAll('[data-item]')[1].id").await;
        assert_eq!(browser.value("document.querySelector('.here').id").await, second);
        browser.keys("k").await;
        let first = browser.value("document.querySelector('[data-item] .what a').pathname").await;
        browser.keys("\u{e007}").await;
        browser.until(&format!("location.pathname === {first} && document.readyState === 'complete'")).await;
        browser.keys("/").await;
        browser.until("document.activeElement.id === 'find'").await;
        browser.keys("\u{e00c}?").await;
        browser.until("document.getElementById('help').open").await;
        browser.keys("\u{e00c}").await;
        browser.until("!document.getElementById('help').open").await;
        browser.keys("ga").await;
        browser.until("location.pathname === '/'").await;
        // What has the focus is seen to have it.
        browser.keys("\u{e004}\u{e004}").await;
        let outline = "getComputedStyle(document.activeElement).outlineStyle";
        assert_ne!(browser.value(outline).await, "none");
        browser
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_colours_are_the_systems_until_somebody_chooses_others_and_then_stay() {
    let world = World::start().await;
    with_browser(&world, |browser| async {
        let page = "getComputedStyle(document.body).backgroundColor";
        browser.colours("light").await;
        browser.log_in("/").await;
        let light = browser.value(page).await;
        browser.colours("dark").await;
        let dark = browser.value(page).await;
        assert_ne!(light, dark);
        let label = "document.getElementById('theme').getAttribute('aria-label')";
        browser.click("#theme").await;
        assert_eq!(
            (browser.value(page).await, browser.value(label).await),
            (light.clone(), "Colours: light".into())
        );
        browser.goto("/runs").await;
        assert_eq!(
            browser.value(page).await,
            light,
            "it is remembered, also before a script of the page runs"
        );
        browser.click("#theme").await;
        browser.colours("light").await;
        assert_eq!(browser.value(page).await, dark);
        browser.click("#theme").await;
        assert_eq!(browser.value(page).await, light, "and as the system has them again");
        browser
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_something_to_see_at_once() {
    let world = World::start().await;
    with_browser(&world, |browser| async {
        browser.log_in("/").await;
        let mut took = Vec::new();
        for (name, path) in pages(&world) {
            browser.goto(&path).await;
            took.push((name, browser.first_paint_ms().await));
        }
        for (name, ms) in &took {
            println!("first paint of {name}: {ms:.0} ms");
        }
        let scripts =
            browser.value("[...document.scripts].every(script => script.src && !script.textContent)").await;
        assert_eq!(scripts, Value::Bool(true), "no script stands in a page");
        assert!(took.iter().all(|(_, ms)| *ms > 0.0));
        browser
    })
    .await;
    world.stop().await;
}
