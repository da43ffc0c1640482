//! The short form of the fault runs, with fixed seeds: the very command that longer ones are run with.

use std::path::Path;
use std::process::Command;

/// A run in debug takes about a minute on two cores.
const RUNS: &str = "2";
const OPERATIONS: &str = "10";

#[test]
fn fault_runs_of_fixed_seeds_find_nothing() {
    let program = std::env::current_exe().expect("a running program has a path");
    let profile = program.ancestors().nth(2).expect("tests are in PROFILE/deps");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--example", "faults", "--target-dir"]).arg(profile.parent().unwrap_or(profile));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    command.args(["--", "--seed", "1", "--runs", RUNS, "--operations", OPERATIONS]);
    // Cargo tells the program it runs which package it is of; a build that hears it too takes crates for changed.
    for (name, _) in std::env::vars_os() {
        let is_cargos = |prefix: &&str| name.to_string_lossy().starts_with(*prefix);
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"].iter().any(is_cargos) {
            command.env_remove(&name);
        }
    }
    let output = command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).output().expect("cargo can be started");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("{RUNS} runs of mix without a finding")), "{said}");
}
