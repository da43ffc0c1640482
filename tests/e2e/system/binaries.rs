//! Our own programs, built once for each run of the tests with the same features as the tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// The path of one of our programs.
pub fn binary(name: &str) -> PathBuf {
    FOLDER.get_or_init(build).join(name)
}

pub fn build_once() {
    FOLDER.get_or_init(build);
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("tests are in PROFILE/deps").to_owned();
    let target = profile.parent().expect("the profile is in the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With --tests the features are those of `cargo test --workspace`, so nothing but the last link is done again.
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bins", "--tests", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be started");
    assert!(status.success(), "our programs can't be built");
    profile
}
