//! A run: as it happens, as it was, its output, and what can be decided about it.

use landfall_engine::core::event::Event;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;

use crate::browser::{Browser, with_browser};
use crate::seed::{LONG_OUTPUT, facts};
use crate::world::{Next, World};

const BADGE: &str = "document.querySelector('#run-head .badge').innerText";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_seen_as_it_happens_with_its_output() {
    let world = World::start().await;
    let (tests, deploy) = (world.stages.hold(Stage::Test), world.stages.hold(Stage::Deploy));
    with_browser(&world, |browser| async {
        let run = world.push("shop", "Sell gift cards").await;
        browser.log_in(&format!("/runs/{run}")).await;
        browser.until("document.documentElement.dataset.stream === 'open'").await;
        browser.until(&format!("{BADGE}.includes('Testing')")).await;
        let icon = "document.getElementById('icon').href";
        assert!(browser.value(icon).await.as_str().unwrap().contains("busy"));
        for n in 1..=200 {
            tests.send(Next::Print(format!("tests/test_{n}.py \u{1b}[32mPASSED\u{1b}[0m"))).unwrap();
        }
        let window = "document.querySelector('.window').innerText";
        browser.until(&format!("{window}.includes('tests/test_200.py PASSED')")).await;
        assert_eq!(browser.value(&format!("{window}.includes('\\u001b')")).await, false);
        assert_eq!(browser.value("document.querySelectorAll('.line .a32').length > 5").await, true);
        browser.colours("light").await;
        browser.picture("run-going-on-light", 1_000).await;
        // Whoever scrolls up is left there.
        browser.value("(document.getElementById('viewer').scrollTop = 0)").await;
        browser.until("document.getElementById('follow').getAttribute('aria-pressed') === 'false'").await;
        tests.send(Next::Print("one more".into())).unwrap();
        browser.until("document.getElementById('viewer').dataset.lines === '201'").await;
        assert_eq!(browser.value("document.getElementById('viewer').scrollTop").await, 0);
        tests
            .send(Next::End(Box::new(landfall_engine::core::command::Outcome::Succeeded(facts(
                Stage::Test,
                "",
                run,
            )))))
            .unwrap();
        browser.until(&format!("{BADGE}.includes('Deploying')")).await;
        browser.until("document.getElementById('said').textContent.includes('Deploying')").await;
        browser
            .until("document.querySelector('.flow.wide .node:nth-of-type(2)').classList.contains('good')")
            .await;
        deploy.send(Next::Print("Listening at: http://0.0.0.0:8000".into())).unwrap();
        browser.until(&format!("{window}.includes('Listening at')")).await;
        drop(deploy);
        browser.until(&format!("{BADGE}.includes('Live')")).await;
        browser.until("document.getElementById('icon').href.includes('good')").await;
        assert!(browser.value("document.title").await.as_str().unwrap().starts_with('✓'));
        assert_eq!(world.settled(run).await.state, RunState::Live);
        browser
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slider_shows_the_run_after_any_of_its_events() {
    let world = World::start().await;
    let run = world.seeded.rolled_back;
    let events = world.app.engine.store().events(run).await.unwrap();
    with_browser(&world, |browser| async {
        browser.log_in(&format!("/runs/{run}")).await;
        browser.until(&format!("{BADGE}.includes('Rolled back')")).await;
        let of = |seq: usize| format!("document.getElementById('run').dataset.shown === '{seq}'");
        let slide = |seq: usize| {
            format!(
                "(at => {{ at.value = {seq}; at.dispatchEvent(new Event('input')); return true }})(document.getElementById('at'))"
            )
        };
        let last_cell = "[...document.querySelectorAll('.tracker tbody tr')].map(row => row.cells[5].innerText).join()";
        for (event, then) in [
            (Event::RunClosed.name(), "Rolled back"),
            ("deployment_started", "Not deployed"),
            ("run_started", "Not deployed"),
        ] {
            let seq = events.iter().position(|told| told.event.name() == event).unwrap() + 1;
            browser.value(&slide(seq)).await;
            browser.until(&of(seq)).await;
            let cells = browser.value(last_cell).await;
            assert!(cells.as_str().unwrap().contains(then), "{event}: {cells}");
            let expected = if seq == events.len() { String::new() } else { format!("?at={seq}") };
            assert_eq!(browser.value("location.search").await, expected);
        }
        assert!(browser.text("#moment").await.contains("This is the past"));
        let buttons = browser.value("document.querySelectorAll('#run-head [data-deed]').length").await;
        assert_eq!(buttons, 0, "nothing is decided in the past");
        // The keyboard moves in time, on the slider and beside it.
        browser.value("document.getElementById('at').focus()").await;
        browser.keys("\u{e014}\u{e014}").await;
        browser.until(&of(3)).await;
        browser.value("document.activeElement.blur()").await;
        browser.keys("\u{e012}").await;
        browser.until(&of(2)).await;
        browser.goto(&format!("/runs/{run}?at=5")).await;
        assert_eq!(browser.value("document.getElementById('at').value").await, "5", "an address has its moment");
        browser.click("#now").await;
        browser.until(&format!("{BADGE}.includes('Rolled back') && location.search === ''")).await;
        browser.click("a[data-at='4']").await;
        browser.until(&of(4)).await;
        browser
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_output_is_light_is_searched_and_every_line_has_an_address() {
    let world = World::start().await;
    let run = world.seeded.failed;
    with_browser(&world, |browser| async {
        browser.log_in(&format!("/runs/{run}#test-1-L99996")).await;
        let all = format!("document.getElementById('viewer').dataset.lines === '{LONG_OUTPUT}'");
        browser.until(&all).await;
        browser.until("document.querySelector('.line.here')?.innerText.includes('basket.add')").await;
        assert_eq!(browser.value("document.querySelector('.line.here a').textContent").await, "99996");
        let seen = "(box => { const line = document.querySelector('.line.here').getBoundingClientRect(); \
                    return line.top >= box.top && line.bottom <= box.bottom })(document.getElementById('viewer').getBoundingClientRect())";
        browser.until(seen).await;
        let drawn = browser.value("document.querySelectorAll('.line').length").await.as_u64().unwrap();
        assert!(drawn < 200, "{drawn} lines are in the page");
        assert_ne!(browser.value("document.title").await, "stolen");
        assert_eq!(browser.value("document.querySelectorAll('.window script').length").await, 0);

        browser.find("#find").await.send_keys("TEST_CASE_77").await.unwrap();
        browser.until("document.getElementById('found').textContent === '1 of 1111'").await;
        browser.until("document.querySelector('.line.hit')?.innerText.includes('test_case_77 ')").await;
        browser.find("#find").await.send_keys("\u{e007}").await.unwrap();
        browser.until("document.getElementById('found').textContent === '2 of 1111'").await;
        browser.until("document.querySelector('.line.hit')?.innerText.includes('test_case_770')").await;
        assert_eq!(browser.value("document.querySelector('.line.hit mark').textContent").await, "test_case_77");
        browser.picture("output-search-light", 1_100).await;

        browser.click(".line.hit a").await;
        browser.until("location.hash === '#test-1-L770'").await;
        browser.until("document.querySelector('.line.here a').textContent === '770'").await;
        browser.until("!document.getElementById('copy').hidden").await;
        browser.value("(location.hash = '#test-1-L10-L12')").await;
        browser.until("document.querySelectorAll('.line.here').length === 3").await;
        browser.click("#run-tabs a[data-output='checkout-1']").await;
        browser.until("location.hash === '#checkout-1'").await;
        browser
    })
    .await;
    world.stop().await;
}

/// Presses a button, says why where that is asked, and means it.
async fn decides(browser: &Browser, href: &str, why: Option<&str>) {
    browser.click(&format!("a[data-deed][href^='{href}']")).await;
    browser.until("document.getElementById('deed').open").await;
    if let Some(why) = why {
        browser.find("#deed textarea").await.send_keys(why).await.unwrap();
    }
    assert_eq!(browser.axe().await, Vec::<String>::new(), "{href}");
    browser.click("#deed button").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_decides_is_done_and_the_log_says_who_it_was() {
    let world = World::start().await;
    let seeded = world.seeded;
    let tests = world.stages.hold(Stage::Test);
    with_browser(&world, |browser| async {
        let waiting = seeded.waiting;
        browser.log_in(&format!("/runs/{waiting}")).await;
        browser.click(&format!("a[data-deed][href='/runs/{waiting}/approve']")).await;
        browser.until("document.getElementById('deed').open").await;
        browser.colours("light").await;
        browser.picture("dialog-light", 750).await;
        browser.click("#deed [data-close]").await;
        browser.until("!document.getElementById('deed').open").await;
        decides(&browser, &format!("/runs/{waiting}/approve"), None).await;
        browser.until(&format!("{BADGE}.includes('Live')")).await;
        let events = world.app.engine.store().events(waiting).await.unwrap();
        let approved = events.iter().find(|told| told.event == Event::RunApproved).unwrap();
        assert_eq!(approved.actor, "grace");

        let run = world.push("blog", "Another font").await;
        browser.goto(&format!("/runs/{run}")).await;
        browser.until(&format!("{BADGE}.includes('Testing')")).await;
        decides(&browser, &format!("/runs/{run}/cancel"), Some("it is ugly")).await;
        browser.until(&format!("{BADGE}.includes('Cancelled')")).await;
        assert!(browser.text("#run-head .alert").await.contains("it is ugly"));
        drop(tests);

        browser.goto("/apps/shop").await;
        decides(
            &browser,
            &format!("/apps/shop/rollback?env=production&to={}", seeded.former),
            Some("taxes are wrong"),
        )
        .await;
        browser.until(&format!("location.pathname.startsWith('/runs/') && {BADGE}.includes('Live')")).await;
        let lane = landfall_engine::core::lane::LaneId::production("shop");
        let live = world.app.engine.store().lane(&lane).await.unwrap().live.unwrap();
        assert_eq!(live.commit.subject, "Sell more than one thing");

        let parked = seeded.parked;
        browser.goto(&format!("/runs/{parked}")).await;
        decides(&browser, &format!("/runs/{parked}/skip"), Some("the engine is back")).await;
        browser.until(&format!("{BADGE}.includes('Live')")).await;
        assert_eq!(world.settled(parked).await.state, RunState::Live);

        browser.goto(&format!("/runs/{}", seeded.failed)).await;
        decides(&browser, &format!("/runs/{}/again", seeded.failed), None).await;
        browser
            .until(&format!("location.pathname !== '/runs/{}' && {BADGE}.includes('Live')", seeded.failed))
            .await;
        browser
    })
    .await;
    world.stop().await;
}
