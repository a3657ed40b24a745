//! Virtual environments of Python 3.13, made once for each lock file and kept in a cache.

use sha2::{Digest as _, Sha256};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MISSING: &str = "the tests of the deployed stack need Python 3.13 (LocalStack runs on no \
    other): install it so that `python3.13` is on the PATH, for example with \
    `uv python install 3.13` or your system's packages";

/// Says what takes long: the harness of tests shows it only when asked, so it goes to the terminal
/// itself.
pub fn progress(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "    {what}");
}

fn cache() -> PathBuf {
    let home = env::var_os("HOME").map_or_else(env::temp_dir, PathBuf::from);
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    cache.join("countersign")
}

/// A Python 3.13, wherever it is.
fn python() -> PathBuf {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut candidates = vec![PathBuf::from("python3.13"), PathBuf::from("python3")];
    for folder in [".pyenv/versions", ".local/share/uv/python"] {
        let versions = fs::read_dir(home.join(folder)).into_iter().flatten().flatten();
        candidates.extend(versions.map(|version| version.path().join("bin/python3.13")));
    }
    let usable = |path: &PathBuf| {
        let asked = Command::new(path)
            .args(["-c", "import sys; print(sys.version_info[:2])"])
            .stderr(Stdio::null())
            .output();
        asked.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).trim() == "(3, 13)")
    };
    candidates.into_iter().find(usable).unwrap_or_else(|| panic!("{MISSING}"))
}

/// The folder of a virtual environment with what a lock file (and, without their dependencies, some
/// folders) names.
pub fn venv(name: &str, lock: &Path, folders: &[PathBuf]) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(fs::read(lock).unwrap());
    for folder in folders {
        let mut files: Vec<PathBuf> = walk(folder);
        files.sort();
        files.iter().for_each(|file| hash.update(fs::read(file).unwrap()));
    }
    let digest = hex::encode(hash.finalize());
    fs::create_dir_all(cache()).unwrap();
    let folder = cache().join(format!("{name}-{}", &digest[..12]));
    // Two runs at once: one makes it, the other waits.
    let guard = File::create(folder.with_extension("lock")).unwrap();
    guard.lock().unwrap();
    if folder.join("complete").exists() {
        return folder;
    }
    progress(&format!("installing {name} into {} (once)", folder.display()));
    let _ = fs::remove_dir_all(&folder);
    run(Command::new(python()).args(["-m", "venv"]).arg(&folder));
    let pip = |args: &[&OsStr]| {
        drop(run(Command::new(folder.join("bin/pip")).args(["install", "-q"]).args(args)))
    };
    // A lock file names all that is needed.
    pip(&[OsStr::new("--no-deps"), OsStr::new("-r"), lock.as_os_str()]);
    folders.iter().for_each(|own| pip(&[OsStr::new("--no-deps"), own.as_os_str()]));
    File::create(folder.join("complete")).unwrap();
    folder
}

/// Node.js and a folder with a package, where there is one.
pub fn npm(package: &str) -> Option<(PathBuf, PathBuf)> {
    Command::new("npm").arg("--version").output().ok().filter(|answer| answer.status.success())?;
    fs::create_dir_all(cache()).unwrap();
    let folder = cache().join(format!("npm-{}", package.replace('@', "-")));
    let guard = File::create(folder.with_extension("lock")).unwrap();
    guard.lock().unwrap();
    if !folder.join("complete").exists() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", package])
            .current_dir(&folder));
        File::create(folder.join("complete")).unwrap();
    }
    Some((PathBuf::from("node"), folder))
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ours =
        entries.filter(|path| !["build", "__pycache__"].iter().any(|name| path.ends_with(name)));
    let ours = ours.filter(|path| path.extension().is_none_or(|kind| kind != "egg-info"));
    ours.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Runs a command; what it printed.
pub fn run(command: &mut Command) -> String {
    let done = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?} failed\n{out}\n{err}");
    out.into_owned()
}
