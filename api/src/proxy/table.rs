//! The rules of the route table, as plain functions over plain values.
//!
//! **Invariant:** the generation of an app and environment never falls, not even while it serves
//! nothing: a route without a target stays as a tombstone. A switch that was sent long ago and
//! arrives late must not bring back what was rolled back.

use std::collections::BTreeMap;

use landfall_stages::proxy::Refusal;
use landfall_stages::proxy::Route;

/// What a route is found by: app, then environment.
pub(super) type Key = (String, String);

/// Returns what `route` is found by.
pub(super) fn key_of(route: &Route) -> Key {
    (route.app.clone(), route.env.clone())
}

/// Where the traffic of every app goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    routes: BTreeMap<Key, Route>,
}

/// What is to be done with a route that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is newer than what is there.
    Apply,
    /// It is what is there: the request was repeated.
    AlreadyThere,
}

impl Table {
    /// Judges a route that has been [checked](Route::checked); changes nothing.
    pub(super) fn judge(&self, route: &Route) -> Result<Verdict, Refusal> {
        if let Some(there) = self.routes.get(&key_of(route)) {
            if there == route {
                return Ok(Verdict::AlreadyThere);
            }
            if route.generation <= there.generation {
                return Err(stale(there, route));
            }
        }
        match self.holder(route) {
            Some(holder) => Err(host_taken(holder, route)),
            None => Ok(Verdict::Apply),
        }
    }

    /// Returns the table with `route` in the place of the one before it.
    pub(super) fn with(&self, route: Route) -> Self {
        let mut table = self.clone();
        table.routes.insert(key_of(&route), route);
        table
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Route> {
        self.routes.get(key)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values()
    }

    /// Returns the other app that has the host and prefix of `route`. One that serves nothing has none.
    fn holder(&self, route: &Route) -> Option<&Route> {
        route.target?;
        self.routes().find(|other| {
            other.target.is_some() && other.answers_for_the_same_as(route) && key_of(other) != key_of(route)
        })
    }
}

fn stale(there: &Route, asked: &Route) -> Refusal {
    let (current, generation) = (there.generation, asked.generation);
    let message = if generation == current {
        format!("generation {current} is there already and says something else")
    } else {
        format!("generation {generation} comes too late: {current} is in force")
    };
    Refusal::StaleGeneration { message, current }
}

fn host_taken(holder: &Route, asked: &Route) -> Refusal {
    let by = format!("{}/{}", holder.app, holder.env);
    let message = match &asked.host {
        _ if asked.mount.is_some() => {
            let place = asked.answers_for();
            format!("{place} belongs to {by}; give this app another [proxy] host or path_prefix")
        }
        Some(host) => format!("the host {host} belongs to {by}; give this app another [proxy] host"),
        None => format!("{by} answers for every host without an app; give this app a [proxy] host"),
    };
    Refusal::HostTaken { message, by }
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::settings::Mount;

    use super::*;
    use crate::proxy::testing::route;

    fn table(routes: impl IntoIterator<Item = Route>) -> Table {
        routes.into_iter().fold(Table::default(), |table, route| table.with(route))
    }

    #[track_caller]
    fn refused_as_stale(table: &Table, route: &Route, at: u64) {
        let verdict = table.judge(route);
        assert!(
            matches!(verdict, Err(Refusal::StaleGeneration { current, .. }) if current == at),
            "{verdict:?}"
        );
    }

    #[track_caller]
    fn taken(table: &Table, route: &Route, holder: &str) {
        let verdict = table.judge(route);
        assert!(matches!(&verdict, Err(Refusal::HostTaken { by, .. }) if by == holder), "{verdict:?}");
    }

    fn at(generation: u64) -> Route {
        Route { generation, ..route("shop", Some("shop.test"), 9001) }
    }

    fn nothing(route: Route) -> Route {
        Route { target: None, release: String::new(), ..route }
    }

    #[test]
    fn a_higher_generation_wins() {
        assert_eq!(table([at(3)]).judge(&at(4)), Ok(Verdict::Apply));
        assert_eq!(table([at(3)]).judge(&at(400)), Ok(Verdict::Apply));
    }

    #[test]
    fn a_repeated_switch_is_already_there() {
        assert_eq!(table([at(3)]).judge(&at(3)), Ok(Verdict::AlreadyThere));
    }

    #[test]
    fn the_same_generation_with_other_content_is_stale() {
        refused_as_stale(&table([at(3)]), &Route { run: "another".into(), ..at(3) }, 3);
        refused_as_stale(&table([at(3)]), &Route { drain_ms: 1, ..at(3) }, 3);
    }

    #[test]
    fn a_lower_generation_is_stale_even_with_the_same_content() {
        refused_as_stale(&table([at(3)]), &at(2), 3);
    }

    #[test]
    fn an_app_that_serves_nothing_keeps_its_generation() {
        let table = table([at(3), nothing(at(4))]);
        refused_as_stale(&table, &at(3), 4);
        assert_eq!(table.judge(&at(5)), Ok(Verdict::Apply));
    }

    #[test]
    fn a_host_belongs_to_one_app_and_environment() {
        let table = table([at(1)]);
        taken(&table, &route("blog", Some("shop.test"), 9002), "shop/production");
        taken(&table, &Route { env: "staging".into(), ..at(1) }, "shop/production");
    }

    #[test]
    fn a_host_is_shared_by_prefix_and_each_prefix_belongs_to_one_app() {
        let at = |app: &str, prefix: &str, strip| {
            let mount = Some(Mount { prefix: prefix.into(), strip });
            Route { mount, ..route(app, Some("shop.test"), 9002) }
        };
        let table = table([route("shop", Some("shop.test"), 9001), at("blog", "/blog", true)]);
        assert_eq!(table.judge(&at("docs", "/docs", true)), Ok(Verdict::Apply));
        assert_eq!(table.judge(&at("docs", "/blog/docs", true)), Ok(Verdict::Apply));
        taken(&table, &at("docs", "/blog", false), "blog/production");
        taken(&table, &route("docs", Some("shop.test"), 9003), "shop/production");
    }

    #[test]
    fn one_app_alone_may_be_without_a_host() {
        let table = table([route("shop", None, 9001)]);
        taken(&table, &route("blog", None, 9002), "shop/production");
        assert_eq!(table.judge(&route("blog", Some("blog.test"), 9002)), Ok(Verdict::Apply));
    }

    #[test]
    fn an_app_that_serves_nothing_gives_its_host_away_and_must_ask_to_have_it_back() {
        let blog = route("blog", Some("shop.test"), 9002);
        let table = table([nothing(at(1))]);
        assert_eq!(table.judge(&blog), Ok(Verdict::Apply));
        taken(&table.with(blog), &at(2), "blog/production");
    }

    #[test]
    fn an_app_may_change_its_host_and_frees_the_former_one() {
        let moved = Route { host: Some("new.test".into()), ..at(2) };
        let table = table([at(1)]);
        assert_eq!(table.judge(&moved), Ok(Verdict::Apply));
        assert_eq!(table.with(moved).judge(&route("blog", Some("shop.test"), 9002)), Ok(Verdict::Apply));
    }
}
