//! The route table on disk: `DIR/routes.json`.
//!
//! ```text
//! routes.json.tmp ──write, fsync──▶ rename to routes.json ──▶ fsync DIR ──▶ only now may traffic move
//! ```
//!
//! **Invariant:** reading never loses anything. An entry that cannot be read is set aside in the
//! file, with the others in force; a file that cannot be read at all is kept under another name.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use landfall_stages::proxy::Refusal;
use landfall_stages::proxy::Route;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::table::Table;
use super::table::Verdict;
use super::table::key_of;

/// The shape of the file. Raised when an older proxy could not read a newer file.
const FORMAT: u32 = 1;

/// The table and the place where it is kept.
#[derive(Debug)]
pub(super) struct RoutesFile {
    dir: PathBuf,
    /// Entries that this version could not read, as they were found.
    unreadable: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    routes: Vec<Value>,
    #[serde(default)]
    unreadable: Vec<Value>,
}

impl RoutesFile {
    /// Reads the table in `dir`; without a file it is empty.
    pub(super) fn load(dir: &Path) -> io::Result<(Self, Table)> {
        let path = dir.join("routes.json");
        let stored = match fs::read(&path) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::empty()),
            Err(error) => return Err(error),
        };
        let stored = match stored {
            Ok(stored) => stored,
            Err(reason) => {
                put_aside(&path, &reason)?;
                Stored::empty()
            }
        };
        let (table, unreadable) = sort(stored);
        Ok((Self { dir: dir.to_owned(), unreadable }, table))
    }

    /// Makes `table` durable. After an error the former table is in force, on disk as in memory,
    /// unless it was the last fsync that failed; the same switch may be tried again in either case.
    pub(super) fn save(&self, table: &Table) -> io::Result<()> {
        let routes = table.routes().map(serde_json::to_value).collect::<Result<_, _>>()?;
        let stored = Stored { format: FORMAT, routes, unreadable: self.unreadable.clone() };
        let temporary = self.dir.join("routes.json.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&stored)?)?;
        file.sync_all()?;
        fs::rename(&temporary, self.dir.join("routes.json"))?;
        File::open(&self.dir)?.sync_all()
    }
}

impl Stored {
    fn empty() -> Self {
        Self { format: FORMAT, routes: Vec::new(), unreadable: Vec::new() }
    }
}

fn parse(bytes: &[u8]) -> Result<Stored, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.format == FORMAT {
        return Ok(stored);
    }
    Err(format!("it has format {}, this version knows {FORMAT}", stored.format))
}

fn put_aside(path: &Path, reason: &str) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let aside = path.with_extension(format!("json.unreadable-{}", now.as_millis()));
    fs::rename(path, &aside)?;
    tracing::error!(
        reason,
        kept = %aside.display(),
        "the route table could not be read: starting without routes; release the apps again"
    );
    Ok(())
}

/// Tells the entries that can be in force from those that cannot. An entry set aside by another
/// version comes back when this one can read it and nobody has taken its place.
fn sort(stored: Stored) -> (Table, Vec<Value>) {
    let mut table = Table::default();
    let mut unreadable = Vec::new();
    for entry in stored.routes.into_iter().chain(stored.unreadable) {
        match admit(&table, &entry) {
            Ok(route) => table = table.with(route),
            Err(reason) => {
                tracing::error!(%entry, reason, "an entry of the route table is set aside");
                unreadable.push(entry);
            }
        }
    }
    (table, unreadable)
}

fn admit(table: &Table, entry: &Value) -> Result<Route, String> {
    let route = Route::deserialize(entry).map_err(|error| error.to_string())?.checked()?;
    if table.get(&key_of(&route)).is_some() {
        return Err("the table has this app and environment already".into());
    }
    match table.judge(&route) {
        Ok(Verdict::Apply | Verdict::AlreadyThere) => Ok(route),
        Err(Refusal::HostTaken { message, .. }) => Err(message),
        Err(refusal) => Err(format!("{refusal:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::testing::route;

    fn write(dir: &Path, text: &str) {
        fs::write(dir.join("routes.json"), text).unwrap();
    }

    fn read(dir: &Path) -> Value {
        serde_json::from_slice(&fs::read(dir.join("routes.json")).unwrap()).unwrap()
    }

    fn two() -> Table {
        Table::default().with(route("blog", Some("blog.test"), 9002)).with(route("shop", None, 9001))
    }

    #[test]
    fn what_was_saved_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (file, table) = RoutesFile::load(dir.path()).unwrap();
        assert_eq!(table, Table::default());
        file.save(&two()).unwrap();
        assert_eq!(RoutesFile::load(dir.path()).unwrap().1, two());
    }

    #[test]
    fn one_bad_entry_never_discards_the_others_and_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = RoutesFile::load(dir.path()).unwrap();
        file.save(&two()).unwrap();
        let mut stored = read(dir.path());
        stored["routes"][0]["target"] = "not an address".into();
        write(dir.path(), &stored.to_string());

        let (file, table) = RoutesFile::load(dir.path()).unwrap();
        assert_eq!(table, Table::default().with(route("shop", None, 9001)));
        file.save(&table).unwrap();
        assert_eq!(read(dir.path())["unreadable"][0]["target"], "not an address");
        let (file, table) = RoutesFile::load(dir.path()).unwrap();
        file.save(&table).unwrap();
        assert_eq!(read(dir.path())["unreadable"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_entry_set_aside_comes_back_when_it_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let entry = serde_json::to_value(route("shop", None, 9001)).unwrap();
        let stored = Stored { format: FORMAT, routes: Vec::new(), unreadable: vec![entry] };
        write(dir.path(), &serde_json::to_string(&stored).unwrap());
        assert_eq!(RoutesFile::load(dir.path()).unwrap().1, Table::default().with(route("shop", None, 9001)));
    }

    #[test]
    fn two_entries_with_one_host_do_not_both_come_into_force() {
        let dir = tempfile::tempdir().unwrap();
        let routes = [route("blog", None, 9002), route("shop", None, 9001)];
        let routes = routes.iter().map(|route| serde_json::to_value(route).unwrap()).collect();
        let stored = Stored { format: FORMAT, routes, unreadable: Vec::new() };
        write(dir.path(), &serde_json::to_string(&stored).unwrap());
        let (file, table) = RoutesFile::load(dir.path()).unwrap();
        assert_eq!(table, Table::default().with(route("blog", None, 9002)));
        assert_eq!(file.unreadable.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_kept_under_another_name() {
        for text in ["", "{", "[]", r#"{"format":2,"routes":[]}"#] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), text);
            assert_eq!(RoutesFile::load(dir.path()).unwrap().1, Table::default());
            let kept = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
            assert!(kept.display().to_string().contains("routes.json.unreadable-"), "{kept:?}");
            assert_eq!(fs::read_to_string(kept).unwrap(), text);
        }
    }
}
