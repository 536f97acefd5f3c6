//! Which pairs are taken, which are told of, and which are in force.

use std::fs;
use std::path::Path;

use super::*;

fn certify(dir: &Path, cert: &str, key: &str, host: &str) {
    let pair = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    fs::create_dir_all(dir.join(cert).parent().unwrap()).unwrap();
    fs::write(dir.join(key), pair.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join(cert), pair.cert.pem()).unwrap();
}

fn pair(dir: &Path) -> Origin {
    Origin::Pair { cert: dir.join("a.crt"), key: dir.join("a.key") }
}

#[track_caller]
fn refused(dir: &Path, expected: &str) {
    let error = Certificates::open(pair(dir)).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(!error.contains("MIG") && !error.contains("bm90"), "a part of a file is shown: {error}");
}

#[test]
fn a_folder_is_read_in_both_forms_with_wildcards_and_a_default() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path(), "shop.test.crt", "shop.test.key", "shop.test");
    certify(dir.path(), "Blog.test/fullchain.pem", "Blog.test/privkey.pem", "blog.test");
    certify(dir.path(), "_wildcard.apps.test.crt", "_wildcard.apps.test.key", "*.apps.test");
    fs::write(dir.path().join("README"), "not a certificate").unwrap();
    let certificates = Certificates::open(Origin::Folder(dir.path().into())).unwrap();
    assert_eq!(certificates.hosts(), ["_wildcard.apps.test", "blog.test", "shop.test"]);
    assert_eq!(certificates.problems(), Vec::<String>::new());
    for (host, serves) in [
        ("shop.test", true),
        ("blog.test", true),
        ("one.apps.test", true),
        ("two.one.apps.test", false),
        ("apps.test", false),
        ("other.test", false),
    ] {
        assert_eq!(certificates.serve(host), serves, "{host}");
    }
    certify(dir.path(), "default.crt", "default.key", "default.test");
    certificates.look();
    assert!(certificates.serve("other.test"));
}

#[test]
fn one_bad_pair_never_keeps_the_others_out() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path(), "shop.test.crt", "shop.test.key", "shop.test");
    certify(dir.path(), "blog.test.crt", "other.key", "blog.test");
    let certificates = Certificates::open(Origin::Folder(dir.path().into())).unwrap();
    assert_eq!(certificates.hosts(), ["shop.test"]);
    assert!(certificates.problems()[0].contains("blog.test.key"), "{:?}", certificates.problems());

    fs::rename(dir.path().join("other.key"), dir.path().join("blog.test.key")).unwrap();
    certificates.look();
    assert_eq!(certificates.hosts(), ["blog.test", "shop.test"]);
    assert!(certificates.problems().is_empty());
}

#[test]
fn a_pair_that_is_taken_away_is_gone_and_a_folder_that_is_leaves_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    certify(&certs, "shop.test.crt", "shop.test.key", "shop.test");
    certify(&certs, "blog.test.crt", "blog.test.key", "blog.test");
    let certificates = Certificates::open(Origin::Folder(certs.clone())).unwrap();
    fs::remove_file(certs.join("blog.test.crt")).unwrap();
    certificates.look();
    assert_eq!(certificates.hosts(), ["shop.test"]);
    fs::rename(&certs, dir.path().join("elsewhere")).unwrap();
    certificates.look();
    assert_eq!(certificates.hosts(), ["shop.test"], "a disk that is away for a moment takes no host down");
    assert!(
        certificates.problems()[0].contains("could not read the folder"),
        "{:?}",
        certificates.problems()
    );
}

#[test]
fn a_key_of_another_certificate_is_kept_out_until_its_own_is_there() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path(), "a.crt", "a.key", "shop.test");
    let certificates = Certificates::open(pair(dir.path())).unwrap();
    // As when a renewal is seen between its two files.
    certify(dir.path(), "a.crt", "new.key", "shop.test");
    certificates.look();
    assert!(certificates.problems()[0].contains("can't be used together"), "{:?}", certificates.problems());
    assert!(certificates.serve("shop.test"));
    fs::rename(dir.path().join("new.key"), dir.path().join("a.key")).unwrap();
    certificates.look();
    assert!(certificates.problems().is_empty(), "{:?}", certificates.problems());
}

#[test]
fn a_named_pair_that_can_not_be_used_is_refused_at_once_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), "could not read");
    certify(dir.path(), "a.crt", "other.key", "shop.test");
    certify(dir.path(), "other.crt", "a.key", "shop.test");
    refused(dir.path(), "can't be used together");
    fs::write(dir.path().join("a.key"), "bm90aGluZw==").unwrap();
    refused(dir.path(), "holds no private key");
    fs::write(dir.path().join("a.crt"), "").unwrap();
    refused(dir.path(), "holds no certificate");
}
