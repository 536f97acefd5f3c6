//! The script that runs inside the test container: dependencies, then the tests.
//!
//! Two runs with the same lock file share a volume. A lock in it lets one of them install and the other wait;
//! `.complete` is written last, so that half an installation is made anew and never used.

use crate::container::SEND_MARK;
use crate::deps::{Dependencies, quoted};

/// How the container ends when the dependencies could not be installed. A test may end like this by chance,
/// so there is a marker too.
pub(super) const NOT_INSTALLED: i64 = 213;

/// Where that marker is.
pub(super) const NOT_INSTALLED_MARKER: &str = "/landfall/not-installed";

const INSTALL: &str = r#"exec 9>"$DEPS/lock"
if ! flock -n 9; then
  echo "another run installs the same dependencies: waiting for it"
  flock 9
fi
if [ -e "$DEPS/.complete" ]; then
  echo "dependencies from NAMED_BY are installed already"
else
  echo "installing dependencies from NAMED_BY"
  rm -rf "$DEPS/venv" "$DEPS/tools"
  if ! env -u PYTHONPATH VENV="$DEPS/venv" TOOLS="$DEPS/tools" sh -eu /landfall/install.sh 9>&-; then
    : >/landfall/not-installed
    exit 213
  fi
  rm -rf "$DEPS/tools"
  sync -f "$DEPS" 2>/dev/null || sync
  : >"$DEPS/.complete"
fi
exec 9>&-
export VIRTUAL_ENV="$DEPS/venv" PATH="$DEPS/venv/bin:$PATH"
"#;

/// What is compiled and what needs a library find them in each container anew, and in the volume what was downloaded.
/// Two runs may want the same at once, so apt waits for its lock.
const PACKAGES: &str = r#"missing=
for package in PACKAGES; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
header=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h
[ -e "$header" ] || [ -e "$DEPS/.complete" ] || missing="$missing python3-dev"
if [ -n "$missing" ]; then
  echo "installing the Debian packages$missing"
  mkdir -p "$DEPS/apt/archives/partial" "$DEPS/apt/lists/partial"
  apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300 \
      -o Dir::Cache::archives="$DEPS/apt/archives" -o Dir::State::lists="$DEPS/apt/lists" \
      -o APT::Keep-Downloaded-Packages=true "$@" >/tmp/apt.log 2>&1
  }
  install() { apt install -y --no-install-recommends $missing; }
  if ! { [ -e "$DEPS/apt/updated" ] && install; } && ! { apt update && : >"$DEPS/apt/updated" && install; }; then
    tail -n 20 /tmp/apt.log
    : >/landfall/not-installed
    exit 213
  fi
fi
"#;

/// The report comes with the output, after the mark: fetching it from the ended container would mount the container's
/// disk once more. What is too long for the container's log, or can't be written like this, is fetched.
const SEND_REPORT: &str = r#"if [ ! -f REPORT ]; then
  :
elif [ "$(wc -c <REPORT)" -le 8000000 ] && command -v base64 >/dev/null; then
  base64 -w 0 <REPORT
else
  echo 'to be fetched'
fi
"#;

/// Returns the script.
pub(super) fn run(needed: Option<&Dependencies>, junit: &str) -> String {
    let mut script = "set -eu\nDEPS=/landfall/deps\n".to_owned();
    if let Some(needed) = needed {
        if !needed.packages.is_empty() {
            let packages: Vec<String> = needed.packages.iter().map(|package| quoted(package)).collect();
            script.push_str(&PACKAGES.replace("in PACKAGES;", &format!("in {};", packages.join(" "))));
        }
        // It stands inside double quotes.
        let is_plain = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ',' | ' ');
        let named_by: String = needed.named_by.chars().filter(is_plain).collect();
        let install = INSTALL.replace("NAMED_BY", &named_by);
        match &needed.unless {
            Some(unless) => script.push_str(&format!("if ! ( {unless} ); then\n{install}fi\n")),
            None => script.push_str(&install),
        }
    }
    if !junit.is_empty() {
        // A report that was committed would be read as today's.
        script.push_str(&format!("rm -f -- {}\n", quoted(junit)));
    }
    script.push_str("code=0\nsh -e /landfall/command.sh || code=$?\n");
    script.push_str(SEND_MARK);
    script.push('\n');
    if !junit.is_empty() {
        script.push_str(&SEND_REPORT.replace("REPORT", &quoted(junit)));
    }
    script.push_str("exit $code\n");
    script
}
