//! Apps and runs, as they happen, and ten thousand of them.

use landfall_engine::core::command::Outcome;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;

use crate::browser::with_browser;
use crate::world::{Next, World};

#[tokio::test(flavor = "multi_thread")]
async fn runs_appear_and_change_as_they_happen() {
    let world = World::start().await;
    let tests = world.stages.hold(Stage::Test);
    with_browser(&world, |browser| async {
        browser.log_in("/runs").await;
        browser.until("document.documentElement.dataset.stream === 'open'").await;
        let before = browser.value("document.querySelectorAll('[data-item]').length").await.as_u64().unwrap();
        let run = world.push("shop", "Sell gift cards").await;
        let row = format!("document.getElementById('run-{run}')?.innerText ?? ''");
        browser.until(&format!("({row}).includes('Testing')")).await;
        assert!(browser.text(&format!("#run-{run}")).await.contains("Sell gift cards"));
        let after = browser.value("document.querySelectorAll('[data-item]').length").await.as_u64().unwrap();
        assert_eq!(after, before + 1);
        let first = browser.value("document.querySelector('[data-item]').id").await;
        assert_eq!(first, format!("run-{run}"), "the newest is the first");
        // Whoever is on a link stays there.
        browser.value(&format!("document.querySelector('#run-{run} a').focus()")).await;
        tests.send(Next::End(Box::new(Outcome::failed("1 of 50 tests failed")))).unwrap();
        browser.until(&format!("({row}).includes('Failed: tests')")).await;
        let focused = browser.value("document.activeElement.pathname").await;
        assert_eq!(focused, format!("/runs/{run}"));
        browser.until("document.getElementById('said').textContent.includes('Sell gift cards')").await;
        assert_eq!(world.settled(run).await.state, RunState::Failed);

        browser.goto("/").await;
        browser.until("document.documentElement.dataset.stream === 'open'").await;
        let run = world.push("shop", "Sell gift cards again").await;
        let lane = "document.getElementById('lane-shop-production').innerText";
        browser.until(&format!("({lane}).includes('Testing')")).await;
        let green = world.stages.hold(Stage::Test);
        drop(green);
        tests
            .send(Next::End(Box::new(Outcome::Succeeded(crate::seed::facts(Stage::Test, "", run)))))
            .unwrap();
        browser.until(&format!("({lane}).includes('Sell gift cards again')")).await;
        assert_eq!(world.settled(run).await.state, RunState::Live);
        browser
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_runs_come_page_by_page_at_once() {
    let world = World::with_many(10_000).await;
    with_browser(&world, |browser| async {
        browser.log_in("/runs").await;
        browser.goto("/runs").await;
        println!("first paint of the newest of 10,000 runs: {:.0} ms", browser.first_paint_ms().await);
        let subjects = "[...document.querySelectorAll('.what a')].map(link => link.textContent)";
        for page in 0..4_u64 {
            let newest = 10_000 - page * 50 - 1;
            browser.until(&format!("{subjects}[0] === 'Change number {newest}'")).await;
            let last = browser.value(&format!("{subjects}.at(-1)")).await;
            assert_eq!(last, format!("Change number {}", newest - 49));
            browser.click("a[rel=next]").await;
        }
        println!("first paint further down: {:.0} ms", browser.first_paint_ms().await);
        browser.click(".pages a").await;
        browser.until(&format!("{subjects}[0] === 'Change number 9999'")).await;
        browser
    })
    .await;
    world.stop().await;
}
