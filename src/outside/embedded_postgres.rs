//! A private Postgres for laptops and tests: found on the machine, started as a process of its own, reached through a
//! socket that only its owner can open.
//!
//! Looked for in this order: the directory that `MILLRACE_POSTGRES_BIN` names, an installed Postgres (the newest of the usual
//! places and PATH), the packaged binaries that `make run` puts into the cache. Postgres refuses to run as root, so root
//! starts it as `postgres` or `nobody`.
//!
//! Its directory is made beside its place and moved there when it is whole and on the disk, so that one that is there can be started,
//! also after a power failure.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::store::Address;

/// The oldest release with what the migrations need (xid8).
const VERSION_MIN: u32 = 13;
const SUPERUSER: &str = "millrace";
const DATABASE: &str = "millrace";
/// How the name of a directory begins that is being made.
const NEW: &str = "cluster.new-";
const START_SECONDS_MAX: &str = "60";
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);

/// What stands between a newcomer and a running server, with the ways out.
const NOT_FOUND: &str = "no Postgres was found on this machine. Millrace needs one, in one of three ways:
  - set DATABASE_URL to a Postgres that runs somewhere;
  - install one: `apt install postgresql` on Debian and Ubuntu, `brew install postgresql` on macOS;
  - run `make run`, which fetches packaged binaries into the cache directory.";

/// A running private Postgres.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    programs: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    owner: Option<(u32, u32)>,
}

impl EmbeddedPostgres {
    /// Starts the Postgres of a directory, making it first if there is none. One that already runs there is used.
    ///
    /// # Errors
    /// No Postgres on the machine, or it does not start; in words for whoever runs it.
    pub async fn start(directory: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_by(find_programs().ok_or(NOT_FOUND)?, directory, settings).await
    }

    async fn start_by(programs: PathBuf, directory: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        let owner = unprivileged_owner()?;
        fs::create_dir_all(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let directory = directory.canonicalize().map_err(|error| format!("{}: {error}", directory.display()))?;
        let place = reachable(&directory, owner)?;
        // Paths of sockets are short: 107 bytes on Linux.
        let socket = std::env::temp_dir().join(format!("millrace-{:x}", hash_of(&directory)));
        let postgres = Self { programs, data: place.join("cluster"), socket, owner };
        for path in [&place, &postgres.socket] {
            postgres.make_private(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        }
        if !postgres.data.join("PG_VERSION").exists() {
            postgres.initialise().await?;
        }
        if !postgres.is_running().await
            && let Err(error) = postgres.launch(settings).await
        {
            // It may have been about to.
            let _ = postgres.stop().await;
            return Err(error);
        }
        Ok(postgres)
    }

    /// The database in it that Millrace uses by default. It exists only after [`Address::create_database`].
    pub fn address(&self) -> Address {
        Address::socket(&self.socket, SUPERUSER, DATABASE)
    }

    /// Where its files are; `postmaster.pid` among them.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Stops it. Everything acknowledged is on disk in any case.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(&self) -> Result<(), String> {
        self.run(
            "pg_ctl",
            ["stop", "-m", "fast", "-w", "-D"].map(OsStr::new).into_iter().chain([self.data.as_os_str()]),
        )
        .await
    }

    async fn initialise(&self) -> Result<(), String> {
        tracing::info!(directory = %self.data.display(), "making a private Postgres");
        // A name of its own: an `initdb` whose node was killed may still be writing.
        let new = self.data.with_file_name(format!("{NEW}{}", crate::ids::unguessable()));
        // Not every system has C.UTF-8; plain C still sorts and stores every text.
        let mut outcome = Ok(());
        for locale in ["--locale=C.UTF-8", "--no-locale"] {
            self.clear();
            let options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", locale, "-D"].map(OsStr::new);
            outcome = self.run("initdb", options.into_iter().chain([new.as_os_str()])).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome?;
        // `initdb` has seen to it that all it made is on the disk.
        let place = self.data.parent().unwrap_or(&self.data);
        let renamed = fs::rename(&new, &self.data).and_then(|()| fs::File::open(place)?.sync_all());
        renamed.map_err(|error| format!("cannot make {}: {error}", self.data.display()))
    }

    /// Takes away what is no Postgres, or not wholly one, as far as nobody is writing there.
    fn clear(&self) {
        let place = self.data.parent().unwrap_or(&self.data);
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.path() == self.data || entry.file_name().to_string_lossy().starts_with(NEW) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    async fn is_running(&self) -> bool {
        let status = self.command("pg_ctl").arg("status").arg("-D").arg(&self.data).output().await;
        let running = status.is_ok_and(|output| output.status.success());
        // A socket directory that was cleaned away makes a running Postgres useless: start it anew.
        if running && !self.socket.join(".s.PGSQL.5432").exists() {
            let _ = self.stop().await;
            return false;
        }
        running
    }

    async fn launch(&self, settings: &[(&str, &str)]) -> Result<(), String> {
        let mut options = format!("-c listen_addresses='' -c unix_socket_directories='{}'", self.socket.display());
        for (name, value) in
            [("unix_socket_permissions", "0700"), ("max_connections", "100"), ("jit", "off")].iter().chain(settings)
        {
            options.push_str(&format!(" -c {name}='{value}'"));
        }
        let log = self.data.with_file_name("postgres.log");
        let arguments = ["start", "-w", "-t", START_SECONDS_MAX, "-o", &options, "-l"].map(OsStr::new);
        let arguments = arguments.into_iter().chain([log.as_os_str(), OsStr::new("-D"), self.data.as_os_str()]);
        self.run("pg_ctl", arguments).await.map_err(|error| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            format!("{error}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir("/").stdin(std::process::Stdio::null()).env("LC_ALL", "C");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    async fn run<'a>(&self, program: &str, arguments: impl Iterator<Item = &'a OsStr>) -> Result<(), String> {
        let mut command = self.command(program);
        // Postgres inherits what it is given and keeps it open: files, not pipes that somebody would wait for.
        let output = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        let (out, err) = (output.reopen(), output.reopen());
        command
            .args(arguments)
            .stdout(out.map_err(|error| error.to_string())?)
            .stderr(err.map_err(|error| error.to_string())?);
        let status = tokio::time::timeout(COMMAND_TIMEOUT, command.status()).await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                let said = fs::read_to_string(output.path()).unwrap_or_default();
                Err(format!("{program} failed ({status}): {}", said.trim()))
            }
            Ok(Err(error)) => Err(format!("{program}: {error}")),
            Err(_) => Err(format!("{program} did not finish in {} seconds", COMMAND_TIMEOUT.as_secs())),
        }
    }

    /// A directory that only the owner may enter.
    fn make_private(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        match self.owner {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }
}

fn hash_of(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

/// Whom root starts Postgres as; nobody else needs anybody else.
fn unprivileged_owner() -> Result<Option<(u32, u32)>, String> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let mut fields = users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let owner = find("postgres").or_else(|| find("nobody"));
    owner
        .map(Some)
        .ok_or_else(|| "Postgres does not run as root, and there is neither a user postgres nor nobody".into())
}

/// The directory, or one elsewhere if the unprivileged owner could not reach it: a home directory of root is closed.
fn reachable(directory: &Path, owner: Option<(u32, u32)>) -> Result<PathBuf, String> {
    let Some((user, _)) = owner else {
        return Ok(directory.to_owned());
    };
    let closed = |path: &Path| {
        let entry = fs::metadata(path);
        entry.is_ok_and(|entry| entry.uid() != user && entry.permissions().mode() & 0o001 == 0)
    };
    if !directory.ancestors().skip(1).any(closed) {
        return Ok(directory.to_owned());
    }
    let place = PathBuf::from(format!("/var/lib/millrace/{:x}", hash_of(directory)));
    tracing::info!(
        "Postgres cannot run as root, and its user cannot reach {}: its files are in {}",
        directory.display(),
        place.display()
    );
    fs::create_dir_all(&place).map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    Ok(place)
}

/// The directory with `initdb`, `pg_ctl` and `postgres`.
fn find_programs() -> Option<PathBuf> {
    let complete =
        |directory: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| directory.join(name).exists());
    if let Some(named) = std::env::var_os("MILLRACE_POSTGRES_BIN") {
        return Some(PathBuf::from(named)).filter(complete);
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for parent in [
        "/usr/lib/postgresql",
        "/usr/local/lib/postgresql",
        "/opt/homebrew/opt",
        "/usr/local/opt",
        "/Applications/Postgres.app/Contents/Versions",
    ] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let version: String =
                name.trim_start_matches("postgresql@").chars().take_while(char::is_ascii_digit).collect();
            let programs = entry.path().join("bin");
            match version.parse() {
                Ok(version) if version >= VERSION_MIN && complete(&programs) => found.push((version, programs)),
                _ if name == "postgresql" && complete(&programs) => found.push((VERSION_MIN, programs)),
                _ => {}
            }
        }
    }
    found.sort();
    let installed = found.pop().map(|(_, programs)| programs);
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed
        .or_else(|| std::env::split_paths(&path).find(complete))
        .or_else(|| Some(cache_directory()?.join("postgres/bin")).filter(complete))
}

/// Where `make run` puts packaged binaries.
fn cache_directory() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Some(cache?.join("millrace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs of which `initdb` ends before its work is done.
    fn programs_that_stop_half_way() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("initdb");
        let half = "#!/bin/sh\necho \"$@\"\nfor last; do :; done\nmkdir -p \"$last/base\" && echo 16 > \"$last/PG_VERSION\"\nexit 1\n";
        fs::write(&path, half).unwrap();
        for path in [directory.path(), &path] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    #[tokio::test]
    async fn a_first_start_that_was_cut_off_is_begun_again() {
        let place = tempfile::tempdir().unwrap();
        let programs = programs_that_stop_half_way();
        let said = EmbeddedPostgres::start_by(programs.path().to_owned(), place.path(), &[]).await.unwrap_err();
        assert!(said.contains("-E UTF8") && !said.contains("--no-sync"), "what is made has to be on the disk: {said}");
        let postgres = EmbeddedPostgres::start(place.path(), &[]).await.unwrap();
        postgres.address().create_database().await.unwrap();
        postgres.stop().await.unwrap();
        let beside: Vec<_> = fs::read_dir(postgres.data().parent().unwrap()).unwrap().flatten().collect();
        assert!(beside.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with(NEW)), "{beside:?}");
        fs::remove_dir_all(postgres.data()).unwrap();
    }
}
