//! The API as a contract: one OpenAPI 3.1 document, made from the handlers and from the types they speak in.
//!
//! ```text
//! #[utoipa::path] on a handler ──▶ routes!(…) ──▶ router
//!                                       └──▶ document ──finished──▶ GET /v1/openapi.json, api/openapi.json
//! ```
//!
//! A handler names what is its own: parameters, body, answers, and its refusals by status alone. What every answer has
//! (the request's id, the problem document, when to ask again) is filled in here, so that a new handler can't forget it.

use std::sync::{Arc, LazyLock};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, Content, InfoBuilder, License, OpenApi, OpenApiBuilder, PathItem, Ref,
    RefOr, Response,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::App;
use super::request::REQUEST_ID;
use crate::error::{Problem, meaning};

/// What the bearer token is called in the document.
const TOKEN: &str = "token";
const OF_THE_ID: &str = "Names the request in the server's log: the client's own, or one that was made";
const OF_THE_TIME: &str = "After how many seconds asking again may help";
/// The body of every refusal.
const PROBLEM_JSON: &str = "application/problem+json";
/// What can come of any request: it is wrong, has no token, or comes when the server can't answer.
const ALWAYS: [u16; 4] = [400, 429, 500, 503];
/// What can come of a body: it is slow, too long, or no JSON.
const OF_A_BODY: [u16; 3] = [408, 413, 415];

const ABOUT: &str = "\
Takes an app from `git push` to live, and remembers how.

* A change is answered once it is durable. What starts or decides a run takes an `Idempotency-Key`, and can then be sent \
  again without a second effect, for as long as the log is kept.
* A refusal is a problem document (RFC 9457) whose `detail` says what was expected and what to do.
* A long list comes in pages; `next`, and a `Link` with `rel=\"next\"`, lead to the next one.
* A stream is Server-Sent Events. Its ids are opaque: send the last one as `Last-Event-ID`, and nothing is missed and \
  nothing comes twice.
* Fields and enum values may be added; none is renamed or removed within `/v1`.";

/// The document as it is served, with the hash that stands for it.
static SERVED: LazyLock<(String, String)> = LazyLock::new(|| {
    let text = openapi_json();
    let tag = super::etag::of_bytes(text.as_bytes());
    (text, tag)
});

/// Returns the description of the API, as `/v1/openapi.json` serves it.
pub fn openapi_json() -> String {
    let document = super::document();
    // A document is strings, maps and numbers.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// `GET /v1/openapi.json`: this document. Needs no token: it says nothing of what runs here.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "server",
    security(()),
    params(super::describe::IfNoneMatch),
    responses(
        (status = 200, description = "The description of the API", body = serde_json::Value,
            headers(("ETag" = String, description = "Changes with the document"))),
        (status = 304, description = "It is the one that the client has")
    )
)]
pub(super) async fn openapi(headers: HeaderMap) -> axum::response::Response {
    let (text, tag) = &*SERVED;
    if super::etag::is_known(&headers, tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.as_str())]).into_response();
    }
    let json = [(header::CONTENT_TYPE, "application/json"), (header::ETAG, tag.as_str())];
    (json, text.as_str()).into_response()
}

/// Returns a document without routes: what the API is, and how a client proves who it is.
pub(super) fn begun() -> OpenApiRouter<Arc<App>> {
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".into());
    let info = InfoBuilder::new()
        .title("Landfall")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    let token = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of this server: `landfall serve` says where its own is."))
        .build();
    let components = ComponentsBuilder::new()
        .schema(Problem::name(), Problem::schema())
        .security_scheme(TOKEN, SecurityScheme::Http(token))
        .build();
    let document = OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .security(Some([SecurityRequirement::new(TOKEN, Vec::<String>::new())]))
        .build();
    OpenApiRouter::with_openapi(document)
}

/// Fills in what all operations have in common.
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            answer_always(operation);
            // What stands in a path, a query or a header is there or not; there is no null.
            let parameters = operation.parameters.iter_mut().flatten();
            parameters.for_each(|parameter| {
                if let RefOr::T(parameter) = parameter {
                    never_null(parameter)
                }
            });
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    components.headers.insert(REQUEST_ID.to_owned(), described(OF_THE_ID));
    let refusals =
        (400..600).filter_map(|status| Some((status.to_string(), refusal(status, meaning(status)?))));
    components.responses.extend(refusals);
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().filter_map(Option::as_mut)
}

fn answer_always(operation: &mut Operation) {
    let needs_none = SecurityRequirement::default();
    let needs_token = operation.security.as_ref().is_none_or(|schemes| !schemes.contains(&needs_none));
    let of_a_body = operation.request_body.is_some().then_some(OF_A_BODY);
    let of_the_token = needs_token.then_some([401, 403]);
    let answers = &mut operation.responses.responses;
    for status in
        ALWAYS.into_iter().chain(of_a_body.into_iter().flatten()).chain(of_the_token.into_iter().flatten())
    {
        answers.entry(status.to_string()).or_insert_with(|| RefOr::T(Response::default()));
    }
    for (status, answer) in answers {
        let RefOr::T(said) = answer else { continue };
        if said.content.is_empty() && status.parse().ok().and_then(meaning).is_some() {
            *answer = RefOr::Ref(Ref::new(format!("#/components/responses/{status}")));
        } else {
            said.headers.insert(REQUEST_ID.to_owned(), request_id());
        }
    }
}

fn never_null(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        && let SchemaType::Array(types) = &object.schema_type
        && let [one, Type::Null] = &types[..]
    {
        object.schema_type = SchemaType::Type(one.clone());
    }
}

/// Returns the answer with which a request is refused.
fn refusal(status: u16, meaning: &str) -> RefOr<Response> {
    let problem = Content::new(Some(RefOr::Ref(Ref::from_schema_name(Problem::name()))));
    let mut answer = Response::new(meaning);
    answer.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem));
    answer.headers.insert(REQUEST_ID.to_owned(), request_id());
    match status {
        401 => drop(answer.headers.insert("WWW-Authenticate".into(), described("How to authenticate"))),
        429 | 503 => drop(answer.headers.insert("Retry-After".into(), described(OF_THE_TIME))),
        _ => {}
    }
    RefOr::T(answer)
}

fn request_id() -> RefOr<Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{REQUEST_ID}")))
}

fn described(text: &str) -> RefOr<Header> {
    RefOr::T(HeaderBuilder::new().schema(Some(String::schema())).description(Some(text)).build())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_a_summary() {
        let mut document = super::super::document();
        let mut names = BTreeSet::new();
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                let name = operation.operation_id.clone().unwrap_or_default();
                assert!(!name.is_empty() && names.insert(name.clone()), "{path}: {name:?} is another's name");
                assert!(
                    operation.summary.is_some() && operation.tags.is_some(),
                    "{path}: {name} says nothing"
                );
            }
        }
        assert!(names.len() > 10, "{names:?}");
    }

    #[test]
    fn every_refusal_that_an_operation_names_is_described() {
        let mut document = super::super::document();
        let described = document.components.take().unwrap().responses;
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                for (status, answer) in &operation.responses.responses {
                    match answer {
                        RefOr::Ref(_) => assert!(described.contains_key(status), "{path}: {status}"),
                        RefOr::T(answer) => assert!(!answer.description.is_empty(), "{path}: {status}"),
                    }
                }
            }
        }
    }
}
