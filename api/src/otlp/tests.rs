//! What the environment says of the collector.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, OtlpError> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    Settings::read(|name| variables.get(name).map(|value| (*value).to_owned()))
}

#[track_caller]
fn sent_to(variables: &[(&str, &str)], expected: &str) {
    assert_eq!(read(variables).unwrap().unwrap().endpoint.as_str(), expected);
}

#[test]
fn nothing_is_sent_unless_a_collector_is_named() {
    assert!(read(&[]).unwrap().is_none());
    assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap().is_none());
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");
    assert!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
    assert!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
}

#[test]
fn the_base_address_gets_the_path_of_traces_and_the_whole_one_is_taken_as_it_is() {
    sent_to(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318")], "http://otel:4318/v1/traces");
    sent_to(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://o.test/otlp/")], "https://o.test/otlp/v1/traces");
    let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://otel:4318/mine");
    sent_to(&[whole, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other")], "http://otel:4318/mine");
}

#[test]
fn headers_are_unescaped_and_never_shown() {
    let settings = read(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:pass@otel:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2, authorization=Basic%20YTpi"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
    ]);
    let settings = settings.unwrap().unwrap();
    assert_eq!(settings.headers["api-key"], "hunter2");
    assert_eq!(settings.headers["authorization"], "Basic YTpi");
    assert_eq!(settings.timeout, Duration::from_millis(2_500));
    assert!(!format!("{:?}", settings.headers).contains("hunter2"));
    assert_eq!(settings.shown(), "http://otel:4318/v1/traces");
}

#[test]
fn a_variable_that_can_not_be_used_is_named_and_its_value_is_not() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "hunter2"),
    ] {
        let error = read(&[endpoint, (name, value)]).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn the_service_has_the_name_that_it_was_given() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");
    let name = |more: &[(&str, &str)]| {
        let resource = read(&[&[endpoint], more].concat()).unwrap().unwrap().resource;
        let names: Vec<_> = resource.into_iter().filter(|(name, _)| name == "service.name").collect();
        assert_eq!(names.len(), 1, "{names:?}");
        names[0].1.clone()
    };
    assert_eq!(name(&[]), "landfall");
    assert_eq!(name(&[("OTEL_SERVICE_NAME", "ci")]), "ci");
    assert_eq!(name(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=eu,team=a%2Cb")]), "eu");
    let both = [("OTEL_SERVICE_NAME", "ci"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=eu")];
    assert_eq!(name(&both), "ci");
}
