//! What `landfall run` deploys: HEAD of a working copy, as the app that its configuration or folder names.

use std::path::{Path, PathBuf};

use landfall_engine::core::environment::PRODUCTION;
use landfall_engine::core::event::Commit;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::settings::Settings;
use landfall_stages::config::{CONFIG_FILE, PYPROJECT_FILE, read_at_commit};
use landfall_stages::git::{self, GitError};

use crate::cli::RunArgs;
use crate::fault::Fault;

/// The longest name of an app: it is part of container names and of one DNS label.
const NAME_CHARS_MAX: usize = 40;

/// What is deployed, and what has to be said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The root of the working copy.
    pub repository: PathBuf,
    /// What is checked out there.
    pub commit: Commit,
    /// App and environment.
    pub lane: LaneId,
    /// What may surprise whoever asked.
    pub remarks: Vec<String>,
}

impl Target {
    /// Looks at the working copy.
    ///
    /// # Errors
    ///
    /// [`Fault::NotFound`] when there is no repository or no commit yet; [`Fault::Usage`] for a name that can't be.
    pub async fn find(args: &RunArgs) -> Result<Self, Fault> {
        let asked = std::path::absolute(&args.path)
            .map_err(|error| Fault::io("could not tell which folder is meant", error))?;
        if !asked.is_dir() {
            return Err(Fault::NotFound(format!("there is no folder {}", asked.display())));
        }
        let repository = git::top_level(&asked).await.map_err(|error| no_repository(&asked, error))?;
        if git::resolve(&repository, "HEAD").await.map_err(git_failed)?.is_none() {
            return Err(Fault::NotFound(format!(
                "{} has no commit yet, and what runs is a commit: `git add . && git commit` makes one",
                repository.display()
            )));
        }
        let commit = git::head(&repository).await.map_err(git_failed)?;
        let mut remarks = Vec::new();
        if asked.canonicalize().ok() != repository.canonicalize().ok() {
            remarks.push(format!(
                "{} is inside the repository {}: that is deployed",
                asked.display(),
                repository.display()
            ));
        }
        let dirty = git::is_dirty(&repository).await.map_err(git_failed)?;
        let described = format!("{} {:?}", commit.short(), commit.subject);
        if dirty {
            remarks.push(format!(
                "the working copy has changes that are not committed: what runs is commit {described}"
            ));
        }
        let folder = repository.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let settings = settings_at(&repository, &commit, &made_valid(&folder)).await?;
        let app = match &args.app {
            Some(app) => app.clone(),
            None => app_of(&folder, settings.as_ref(), &mut remarks),
        };
        let env = match &args.env {
            Some(env) => env.clone(),
            None => env_of(&commit, settings.as_ref(), &mut remarks),
        };
        let lane = LaneId { app: checked("app", &app)?, env: checked("environment", &env)? };
        Ok(Self { repository, commit, lane, remarks })
    }
}

/// Returns the configuration at the commit. None: it can't be read, which ends the run, in an event of its own, when it
/// is checked out.
async fn settings_at(repository: &Path, commit: &Commit, app: &str) -> Result<Option<Settings>, Fault> {
    let ours = git::show_file(repository, &commit.sha, CONFIG_FILE).await.map_err(git_failed)?;
    let python = git::show_file(repository, &commit.sha, PYPROJECT_FILE).await.map_err(git_failed)?;
    let file = |name: &str| if name == CONFIG_FILE { ours.clone() } else { python.clone() };
    Ok(read_at_commit(file, app).ok().map(|(settings, _)| settings))
}

/// Returns the `service` in the configuration, else the folder's name made valid.
fn app_of(folder: &str, settings: Option<&Settings>, remarks: &mut Vec<String>) -> String {
    let made = made_valid(folder);
    match settings.map(|settings| &settings.service).filter(|service| **service != made) {
        Some(service) => service.clone(),
        None => {
            if made != folder {
                remarks.push(format!(
                    "the app is called {made}, after its folder {folder:?}; --app NAME calls it otherwise"
                ));
            }
            made
        }
    }
}

/// Returns the environment that names the branch in the configuration, else production.
fn env_of(commit: &Commit, settings: Option<&Settings>, remarks: &mut Vec<String>) -> String {
    let branch = commit.branch.as_deref();
    let named = branch.zip(settings).and_then(|(branch, settings)| settings.environment_of(branch));
    let env = named.unwrap_or(PRODUCTION);
    if env != PRODUCTION {
        let branch = branch.unwrap_or_default();
        remarks.push(format!("branch {branch} is deployed to {env}; --env NAME deploys it elsewhere"));
    }
    env.to_owned()
}

/// Returns a name of an app that is as close to this one as can be.
pub(super) fn made_valid(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let cut: String = words.join("-").chars().take(NAME_CHARS_MAX).collect();
    match cut.trim_end_matches('-') {
        "" => "app".into(),
        name => name.to_owned(),
    }
}

/// Returns the name if it is one that containers and hosts can carry.
///
/// # Errors
///
/// [`Fault::Usage`], which says what is expected.
pub fn checked(what: &str, name: &str) -> Result<String, Fault> {
    match !name.is_empty() && made_valid(name) == name {
        true => Ok(name.to_owned()),
        false => Err(Fault::Usage(format!(
            "{name:?} can't be the name of an {what}: expected 1 to {NAME_CHARS_MAX} of a-z, 0-9 and single '-' \
             between them, such as {:?}",
            made_valid(name)
        ))),
    }
}

fn no_repository(path: &Path, error: GitError) -> Fault {
    match error {
        GitError::Refused { .. } => Fault::NotFound(format!(
            "{} is not in a git repository, and what runs is a commit: `git init` makes one, or name another folder",
            path.display()
        )),
        other => git_failed(other),
    }
}

fn git_failed(error: GitError) -> Fault {
    Fault::unavailable("could not look at the repository", error)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    fn repository(folder: &str) -> (TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(folder);
        std::fs::create_dir(&path).unwrap();
        git(&path, &["init", "-q", "-b", "main"]);
        (root, path)
    }

    fn git(path: &Path, args: &[&str]) {
        let named = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").current_dir(path).args(named).args(args).status().unwrap();
        assert!(done.success(), "git {args:?}");
    }

    fn commit(path: &Path, file: &str, content: &str) {
        std::fs::write(path.join(file), content).unwrap();
        git(path, &["add", "."]);
        git(path, &["commit", "-q", "-m", "Add a file"]);
    }

    async fn found(path: &Path, app: Option<&str>) -> Result<Target, (u8, String)> {
        let args = RunArgs {
            path: path.to_owned(),
            app: app.map(str::to_owned),
            env: None,
            release_hold: false,
            world: crate::cli::World::default(),
            json: false,
        };
        Target::find(&args).await.map_err(|fault| (fault.code(), fault.to_string()))
    }

    #[tokio::test]
    async fn the_app_is_named_by_its_configuration_else_by_its_folder() {
        let (_root, path) = repository("My_Shop.2");
        commit(&path, "app.py", "");
        let target = found(&path, None).await.unwrap();
        assert_eq!(target.lane.to_string(), "my-shop-2/production");
        assert_eq!(
            target.remarks,
            ["the app is called my-shop-2, after its folder \"My_Shop.2\"; --app NAME calls it otherwise"]
        );
        commit(&path, "landfall.toml", "service = \"store\"\n");
        let target = found(&path, None).await.unwrap();
        assert_eq!((target.lane.app.as_str(), target.remarks.len()), ("store", 0));
        assert_eq!(target.commit.subject, "Add a file");
        assert_eq!(found(&path, Some("other")).await.unwrap().lane.app, "other");
    }

    #[tokio::test]
    async fn a_branch_that_an_environment_names_is_deployed_there() {
        let (_root, path) = repository("shop");
        commit(&path, "landfall.toml", "[env.staging]\nbranches = [\"next\"]\n");
        assert_eq!(found(&path, None).await.unwrap().lane.to_string(), "shop/production");
        git(&path, &["checkout", "-q", "-b", "next"]);
        let target = found(&path, None).await.unwrap();
        assert_eq!(target.lane.to_string(), "shop/staging");
        assert_eq!(target.remarks, ["branch next is deployed to staging; --env NAME deploys it elsewhere"]);
    }

    #[tokio::test]
    async fn what_is_not_committed_is_said() {
        let (_root, path) = repository("shop");
        commit(&path, "app.py", "");
        std::fs::write(path.join("app.py"), "changed").unwrap();
        let target = found(&path, None).await.unwrap();
        let said = &target.remarks[0];
        assert!(said.contains("not committed") && said.contains(target.commit.short()), "{said}");
    }

    #[tokio::test]
    async fn a_folder_without_a_repository_or_a_commit_is_an_error_that_says_what_to_do() {
        let plain = tempfile::tempdir().unwrap();
        let (code, said) = found(plain.path(), None).await.unwrap_err();
        assert!(
            code == 66 && said.contains("not in a git repository") && said.contains("git init"),
            "{said}"
        );
        let (_root, path) = repository("shop");
        let (code, said) = found(&path, None).await.unwrap_err();
        assert!(code == 66 && said.contains("no commit yet"), "{said}");
        let (code, said) = found(Path::new("/nowhere/at/all"), None).await.unwrap_err();
        assert!(code == 66 && said.contains("/nowhere/at/all"), "{said}");
    }

    #[tokio::test]
    async fn a_name_that_no_container_can_carry_is_refused_with_one_that_can() {
        let (_root, path) = repository("shop");
        commit(&path, "app.py", "");
        let (code, said) = found(&path, Some("../Shop")).await.unwrap_err();
        assert!(code == 64 && said.contains("such as \"shop\""), "{said}");
    }

    #[test]
    fn any_folder_name_makes_a_valid_name() {
        for (folder, app) in [("Été 2026", "t-2026"), ("日本", "app"), ("--a--b--", "a-b"), ("", "app")] {
            assert_eq!(made_valid(folder), app);
        }
        assert!(made_valid(&"ab-".repeat(40)).len() <= NAME_CHARS_MAX);
    }
}
