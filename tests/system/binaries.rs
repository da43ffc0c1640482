//! Our own programs, built once for each run of a test or example with the same features as that.

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
    let program = std::env::current_exe().expect("a running program has a path");
    let folder = program.parent().expect("programs are in folders");
    let profile = folder.parent().expect("tests are in PROFILE/deps, examples in PROFILE/examples").to_owned();
    let target = profile.parent().expect("the profile is in the target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With tests or examples the features are those that this very program was built with, so that nothing but the last
    // link is done again.
    let ours: &[&str] = if folder.ends_with("examples") { &["--examples"] } else { &["--tests", "--examples"] };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bins"]).args(ours).arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    // Cargo tells the program it runs which package it is of; a build that hears it too takes crates for changed.
    for (name, _) in std::env::vars_os() {
        let is_cargos = |prefix: &&str| name.to_string_lossy().starts_with(*prefix);
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"].iter().any(is_cargos) {
            command.env_remove(&name);
        }
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be started");
    assert!(status.success(), "our programs can't be built");
    profile
}
