//! THE table of who may ask what. A route that is not in it is the administrator's.

use axum::http::{Method, Uri};
use landfall_engine::core::ledger::Scope;

/// Returns the scope that a request needs, by its method and its route below `/v1`.
pub(super) fn needed(method: &Method, route: &str) -> Scope {
    match route {
        "/ledger" | "/tokens" | "/tokens/{id}" | "/apps/{app}/secrets" | "/apps/{app}/secrets/{name}" => {
            Scope::Admin
        }
        _ if is_read(method) => Scope::Read,
        "/apps/{app}/runs" | "/runs/{id}/retry" => Scope::Trigger,
        "/apps/{app}/rollback"
        | "/apps/{app}/promote"
        | "/apps/{app}/pause"
        | "/apps/{app}/resume"
        | "/apps/{app}/hold"
        | "/apps/{app}/release"
        | "/runs/{id}/cancel"
        | "/runs/{id}/skip"
        | "/runs/{id}/abort"
        | "/runs/{id}/approve"
        | "/runs/{id}/reject" => Scope::Deploy,
        _ => Scope::Admin,
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What a request is about, for a token that is bound to one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// One app.
    App(String),
    /// One run, as the path has it.
    Run(String),
    /// The server that answers: everybody may know that.
    Server,
    /// No app in particular.
    Everything,
}

/// Returns what a request is about: the path says it, or `app` in the query of what is listed.
///
/// What an app is registered with names URLs and secrets of the whole server, so that is no matter of one app.
pub(super) fn about(method: &Method, route: &str, uri: &Uri) -> About {
    if route == "/apps/{app}" && !is_read(method) {
        return About::Everything;
    }
    // Inside a nest the prefix is gone from the path.
    let below = uri.path().strip_prefix("/v1").unwrap_or(uri.path());
    let named = route.split('/').zip(below.split('/')).find_map(|(pattern, given)| match pattern {
        "{app}" => Some(About::App(given.to_owned())),
        "{id}" if route.starts_with("/runs/") => Some(About::Run(given.to_owned())),
        _ => None,
    });
    match (named, route) {
        (Some(named), _) => named,
        (None, "/server") => About::Server,
        (None, "/runs" | "/events") => app_of(uri).map_or(About::Everything, About::App),
        (None, _) => About::Everything,
    }
}

fn app_of(uri: &Uri) -> Option<String> {
    let mut named = uri.query()?.split('&').filter_map(|pair| pair.strip_prefix("app="));
    // Two of them: the handler refuses that, and so does this.
    named.next().filter(|_| named.next().is_none()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_is_for_everybody_deciding_for_some_and_what_is_forgotten_for_the_administrator() {
        let cases = [
            (Method::GET, "/runs", Scope::Read),
            (Method::HEAD, "/runs/{id}", Scope::Read),
            (Method::GET, "/tokens", Scope::Admin),
            (Method::GET, "/ledger", Scope::Admin),
            (Method::GET, "/apps/{app}/secrets", Scope::Admin),
            (Method::POST, "/apps/{app}/runs", Scope::Trigger),
            (Method::POST, "/runs/{id}/retry", Scope::Trigger),
            (Method::POST, "/runs/{id}/approve", Scope::Deploy),
            (Method::POST, "/apps/{app}/rollback", Scope::Deploy),
            (Method::PUT, "/apps/{app}", Scope::Admin),
            (Method::POST, "/prune", Scope::Admin),
            (Method::POST, "/something/new", Scope::Admin),
        ];
        for (method, route, scope) in cases {
            assert_eq!(needed(&method, route), scope, "{method} {route}");
        }
    }

    #[test]
    fn a_bound_token_is_told_by_path_run_or_query_what_it_is_about() {
        let about = |route, uri: &'static str| about(&Method::GET, route, &Uri::from_static(uri));
        assert_eq!(about("/apps/{app}/runs", "/v1/apps/shop/runs"), About::App("shop".into()));
        assert_eq!(about("/runs/{id}/events", "/v1/runs/77/events"), About::Run("77".into()));
        assert_eq!(about("/runs", "/v1/runs?limit=3&app=shop"), About::App("shop".into()));
        assert_eq!(about("/events", "/v1/events?app=shop&app=blog"), About::Everything);
        assert_eq!(about("/apps", "/v1/apps?app=shop"), About::Everything);
        assert_eq!(about("/tokens/{id}", "/v1/tokens/77"), About::Everything);
        assert_eq!(about("/server", "/v1/server"), About::Server);
        let put = |uri| super::about(&Method::PUT, "/apps/{app}", &Uri::from_static(uri));
        assert_eq!(put("/v1/apps/shop"), About::Everything);
    }
}
