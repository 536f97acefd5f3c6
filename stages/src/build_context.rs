//! The build context: the source as a tar stream, without what `.dockerignore` keeps out.
//!
//! The same commit gives the same bytes: entries are sorted, owners are root, times are the files' own,
//! which are the commit's. (One time for all would be simpler, and wrong: web frameworks make `ETag`s of it.)
//!
//! The Dockerfile always goes along, for the engine reads it from there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::dockerfile::Dockerfile;
use crate::dockerignore::{Ignore, Matched};

const IGNORE_FILE: &str = ".dockerignore";

/// One piece of the stream; large enough that a piece costs more than its hand-over.
const PIECE_BYTES: usize = 128 * 1024;
/// Pieces that wait for the engine: 1 MiB, whatever the size of the source.
const PIECES_MAX: usize = 8;

/// What is sent: the folder, and what is left out of it.
#[derive(Debug)]
pub(crate) struct BuildContext {
    root: PathBuf,
    ignore: Ignore,
    dockerfile: Dockerfile,
}

/// The bytes of a tar, piece by piece, as they are read from the disk.
pub(crate) type Pieces = mpsc::Receiver<io::Result<Bytes>>;

impl BuildContext {
    /// Reads the rules for the source in `root`, or says what is wrong with them.
    ///
    /// `NAME.dockerignore` beside a Dockerfile called `NAME` takes the place of `.dockerignore`.
    pub(crate) fn new(root: PathBuf, dockerfile: Dockerfile) -> Result<Self, String> {
        let mut ignore = Ignore::default();
        for name in [format!("{}{IGNORE_FILE}", dockerfile.path()), IGNORE_FILE.to_owned()] {
            match fs::read(root.join(&name)) {
                Ok(text) => {
                    ignore = Ignore::parse(&String::from_utf8_lossy(&text))
                        .map_err(|error| format!("{name}, {error}"))?;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("could not read {name}: {error}")),
            }
        }
        Ok(Self { root, ignore, dockerfile })
    }

    /// Begins to read the files on a thread of its own. It stops when the pieces are dropped.
    pub(crate) fn stream(self) -> (Pieces, JoinHandle<io::Result<()>>) {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let reading = tokio::task::spawn_blocking(move || {
            let sink = BufWriter::with_capacity(PIECE_BYTES, PieceWriter(sender.clone()));
            let written = self.write(sink).and_then(|mut sink| sink.flush());
            if let Err(error) = &written {
                // An end without an error would be taken for the end of the tar.
                let _ = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
            }
            written
        });
        (pieces, reading)
    }

    /// Writes the tar to `sink`.
    pub(crate) fn write<W: Write>(&self, sink: W) -> io::Result<W> {
        let mut tar = Builder::new(sink);
        if let Dockerfile::Generated(text) = &self.dockerfile {
            let mut header = header(EntryType::Regular, 0o644, 0, text.len() as u64);
            tar.append_data(&mut header, self.dockerfile.path(), text.as_bytes())?;
        }
        let mut pending = BTreeMap::new();
        self.write_folder(&mut tar, "", None, &mut pending)?;
        tar.into_inner()
    }

    /// Writes what is in a folder. `pending` are the folders above that are written only if something in them is.
    fn write_folder<W: Write>(
        &self,
        tar: &mut Builder<W>,
        folder: &str,
        above: Option<&Matched>,
        pending: &mut BTreeMap<String, fs::Metadata>,
    ) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(folder))? {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            let path = Path::new(folder).join(&name);
            // A name that is no UTF-8 is matched as well as it can be read.
            let text = path.to_string_lossy().into_owned();
            let metadata = fs::symlink_metadata(self.root.join(&path))?;
            let (excluded, matched) = self.ignore.excludes(&text, above);
            if metadata.is_dir() {
                if excluded && !self.ignore.may_keep_below(&text) && !self.leads_to_dockerfile(&text) {
                    continue;
                }
                if excluded {
                    pending.insert(text.clone(), metadata);
                } else {
                    self.write_pending(tar, pending)?;
                    self.write_entry(tar, &path, &metadata)?;
                }
                self.write_folder(tar, &text, Some(&matched), pending)?;
                pending.remove(&text);
            } else if !excluded || text == self.dockerfile.path() {
                self.write_pending(tar, pending)?;
                self.write_entry(tar, &path, &metadata)?;
            }
        }
        Ok(())
    }

    fn leads_to_dockerfile(&self, folder: &str) -> bool {
        self.dockerfile.path().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    fn write_pending<W: Write>(
        &self,
        tar: &mut Builder<W>,
        pending: &mut BTreeMap<String, fs::Metadata>,
    ) -> io::Result<()> {
        // A folder sorts before what is in it.
        for (folder, metadata) in std::mem::take(pending) {
            self.write_entry(tar, Path::new(&folder), &metadata)?;
        }
        Ok(())
    }

    fn write_entry<W: Write>(
        &self,
        tar: &mut Builder<W>,
        path: &Path,
        metadata: &fs::Metadata,
    ) -> io::Result<()> {
        let mode = metadata.mode() & 0o7777;
        let time = u64::try_from(metadata.mtime()).unwrap_or(0);
        let from = self.root.join(path);
        if metadata.is_symlink() {
            let mut header = header(EntryType::Symlink, 0o777, time, 0);
            tar.append_link(&mut header, path, fs::read_link(from)?)
        } else if metadata.is_dir() {
            tar.append_data(&mut header(EntryType::Directory, mode, time, 0), path, io::empty())
        } else if metadata.is_file() {
            let mut header = header(EntryType::Regular, mode, time, metadata.len());
            tar.append_data(&mut header, path, fs::File::open(from)?)
        } else {
            // Sockets and devices are in no commit, and a build has no use for them.
            Ok(())
        }
    }
}

fn header(kind: EntryType, mode: u32, time: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

struct PieceWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn own(path: &str) -> Dockerfile {
        Dockerfile::Own(path.into())
    }

    #[track_caller]
    fn entries(dir: &tempfile::TempDir, dockerfile: Dockerfile) -> Vec<String> {
        let context = BuildContext::new(dir.path().to_owned(), dockerfile).unwrap();
        let tar = context.write(Vec::new()).unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn what_is_ignored_is_left_out_and_the_dockerfile_is_not() {
        let dir = source(&[
            ("Dockerfile", "FROM scratch"),
            (".dockerignore", "Dockerfile\n.dockerignore\ntests\n*.md"),
            ("app.py", ""),
            ("tests/test_app.py", ""),
            ("README.md", ""),
        ]);
        assert_eq!(entries(&dir, own("Dockerfile")), ["Dockerfile", "app.py"]);
    }

    #[test]
    fn a_folder_comes_back_with_the_file_that_comes_back() {
        let dir = source(&[
            (".dockerignore", "*\n!src/**/*.py"),
            ("Dockerfile", ""),
            ("src/a/x.py", ""),
            ("src/a/x.txt", ""),
            ("src/b/x.txt", ""),
        ]);
        assert_eq!(entries(&dir, own("Dockerfile")), ["Dockerfile", "src", "src/a", "src/a/x.py"]);
    }

    #[test]
    fn a_dockerfile_in_an_ignored_folder_is_found_and_its_own_ignore_file_is_used() {
        let dir = source(&[
            (".dockerignore", "app.py"),
            ("docker/web", ""),
            ("docker/web.dockerignore", "docker\nsecret"),
            ("app.py", ""),
            ("secret", ""),
        ]);
        assert_eq!(entries(&dir, own("docker/web")), [".dockerignore", "app.py", "docker", "docker/web"]);
    }

    #[test]
    fn the_same_source_gives_the_same_bytes_with_modes_and_links_kept() {
        let dir = source(&[("b/run.sh", "x"), ("a", "y")]);
        fs::set_permissions(dir.path().join("b/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../a", dir.path().join("b/link")).unwrap();
        let write = || {
            BuildContext::new(dir.path().to_owned(), Dockerfile::Generated("FROM x".into()))
                .unwrap()
                .write(Vec::new())
                .unwrap()
        };
        let tar = write();
        assert_eq!(tar, write());
        let mut archive = tar::Archive::new(tar.as_slice());
        let seen: Vec<(String, u32, Option<String>)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let text = |path: &Path| path.to_string_lossy().into_owned();
                let link = entry.link_name().unwrap().map(|link| text(&link));
                (text(&entry.path().unwrap()), entry.header().mode().unwrap() & 0o111, link)
            })
            .collect();
        let expected = [
            ("Dockerfile", 0, None),
            ("a", 0, None),
            ("b", 0o111, None),
            ("b/link", 0o111, Some("../a")),
            ("b/run.sh", 0o111, None),
        ];
        let expected = expected.map(|(path, mode, link)| (path.to_owned(), mode, link.map(str::to_owned)));
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_source_is_streamed_in_pieces_and_a_reader_that_goes_away_ends_it() {
        let dir = source(&[("big", &"x".repeat(5 * PIECES_MAX * PIECE_BYTES))]);
        let context = || BuildContext::new(dir.path().to_owned(), own("big")).unwrap();
        let (mut pieces, reading) = context().stream();
        let mut len = 0;
        while let Some(piece) = pieces.recv().await {
            len += piece.unwrap().len();
        }
        assert!(reading.await.unwrap().is_ok());
        assert!(len > 5 * PIECES_MAX * PIECE_BYTES, "{len}");
        let (pieces, reading) = context().stream();
        drop(pieces);
        assert!(reading.await.unwrap().is_err());
    }

    #[test]
    fn a_broken_ignore_file_is_named() {
        let dir = source(&[(".dockerignore", "ok\n[")]);
        let error = BuildContext::new(dir.path().to_owned(), own("Dockerfile")).unwrap_err();
        assert!(error.starts_with(".dockerignore, line 2"), "{error}");
    }
}
