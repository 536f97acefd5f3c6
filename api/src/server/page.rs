//! Long lists come in pages: how long one is, and where the next one is.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use crate::error::ApiError;

/// A page is at most this long.
pub(super) const LIMIT_MAX: usize = 1_000;
/// A page when nobody says how long.
const LIMIT_USUAL: usize = 100;

/// Returns how long a page is to be.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked.unwrap_or(LIMIT_USUAL) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(ApiError::BadRequest(format!("a page has 1 to {LIMIT_MAX} entries, and not {limit}"))),
    }
}

/// Returns the header that leads to the next page: this one's address with `name` set anew. Empty on the last page.
pub(super) fn next(uri: &Uri, name: &str, next: Option<&impl ToString>) -> HeaderMap {
    let Some(next) = next else { return HeaderMap::new() };
    let kept =
        uri.query().unwrap_or_default().split('&').filter(|pair| {
            !pair.is_empty() && pair.split_once('=').map_or(*pair, |(given, _)| given) != name
        });
    let query: Vec<_> = kept.map(str::to_owned).chain([format!("{name}={}", next.to_string())]).collect();
    let link = format!("<?{}>; rel=\"next\"", query.join("&"));
    HeaderValue::from_str(&link).ok().map(|link| (header::LINK, link)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_what_was_asked_for_and_begins_elsewhere() {
        let link = |uri: &str| next(&uri.parse().unwrap(), "before", Some(&7))["link"].clone();
        assert_eq!(link("/v1/runs"), "<?before=7>; rel=\"next\"");
        assert_eq!(link("/runs?app=shop&before=9&limit=2"), "<?app=shop&limit=2&before=7>; rel=\"next\"");
        assert!(next(&"/".parse().unwrap(), "before", None::<&u64>).is_empty());
    }

    #[test]
    fn a_page_is_neither_empty_nor_endless() {
        assert_eq!(limit(None).ok(), Some(100));
        assert!(limit(Some(1)).is_ok() && limit(Some(1_000)).is_ok());
        assert!(limit(Some(0)).is_err() && limit(Some(1_001)).is_err());
    }
}
