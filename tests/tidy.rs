//! House rules and architecture invariants that no compiler holds. Each message names the file to edit.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file of ours with one of these endings, as a path from the repository's root and its text.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = ["proto", "api-server", "controllers", "sdk", "cli", "tests", "docker", ".ci"]
        .map(|folder| root.join(folder))
        .to_vec();
    let mut paths = ["build.rs", "Cargo.toml", "README.md"].map(|file| root.join(file)).to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
            match path.is_dir() {
                // What the fuzzer built.
                true if path.ends_with("target") => {}
                true => folders.push(path),
                false => paths.push(path),
            }
        }
    }
    paths.sort();
    for path in paths {
        if let Some(text) = read(&path, endings) {
            let relative = path.strip_prefix(root).expect("it was found below the root");
            found.push((relative.to_string_lossy().into_owned(), text));
        }
    }
    found
}

fn read(path: &PathBuf, endings: &[&str]) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let wanted = endings.is_empty() || endings.iter().any(|ending| name.ends_with(ending));
    wanted.then(|| fs::read_to_string(path).ok()).flatten()
}

/// A source file's text before its unit tests.
fn outside_tests(text: &str) -> &str {
    let modules = ["#[cfg(test)]\nmod", "#[cfg(test)]\npub mod"];
    let end = modules.iter().filter_map(|module| text.find(module)).min();
    &text[..end.unwrap_or(text.len())]
}

/// The text without lines that are comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_product(path: &str) -> bool {
    !path.starts_with("tests/") && !path.ends_with("tests.rs") && !path.contains("/tests/")
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let long = files(&[".rs", ".proto", ".sh"])
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 400)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect::<Vec<_>>();
    assert_none(&long, "split these files by topic before extending them");
}

#[test]
fn every_source_file_says_its_one_job_first() {
    // Examples are read as pages of the documentation.
    let is_exempt = |path: &str| path.ends_with("tests.rs") || path.contains("/examples/");
    let sources = files(&[".rs"]).into_iter().filter(|(path, _)| !is_exempt(path));
    let silent = sources.filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path);
    assert_none(&silent.collect::<Vec<_>>(), "begin these files with a `//!` line that says what their one job is");
}

#[test]
fn no_file_is_named_for_nothing() {
    let vague = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];
    let named = files(&[".rs"])
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.split(['/', '.']).any(|part| vague.contains(&part)))
        .collect::<Vec<_>>();
    assert_none(&named, "name these files for what they hold, or move it to its user");
}

#[test]
fn product_code_leaves_nothing_undone() {
    let mut found = Vec::new();
    for (path, text) in files(&[".rs"]).into_iter().filter(|(path, _)| is_product(path)) {
        for (line, code) in code(outside_tests(&text)) {
            for banned in ["pub(crate)", ".unwrap()", "todo!(", "unimplemented!(", "dbg!("] {
                if code.contains(banned) {
                    found.push(format!("{path}:{line}: `{banned}`"));
                }
            }
        }
    }
    assert_none(&found, "product code panics nowhere, hides by private modules, and is finished");
}

#[test]
fn only_the_store_speaks_sql() {
    let statements = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "ON CONFLICT "];
    let mut found = Vec::new();
    for (path, text) in files(&[".rs"]).into_iter().filter(|(path, _)| is_product(path)) {
        // A local Postgres is asked whether it is up and for a database, before there is a store.
        if path.starts_with("api-server/src/store") || path.starts_with("cli/src/local/") {
            continue;
        }
        for (line, code) in code(outside_tests(&text)) {
            if statements.iter().any(|statement| code.contains(statement)) {
                found.push(format!("{path}:{line}: {}", code.trim()));
            }
        }
    }
    assert_none(&found, "move these statements to api-server/src/store/");
}

#[test]
fn only_the_clients_of_controllers_know_kubernetes() {
    let mut found = Vec::new();
    for (path, text) in files(&[".rs"]).into_iter().filter(|(path, _)| is_product(path)) {
        if path.starts_with("controllers/src/clients") {
            continue;
        }
        for (line, code) in code(&text) {
            if ["kube::", "use kube", "k8s_openapi", "aws_sdk_"].iter().any(|name| code.contains(name)) {
                found.push(format!("{path}:{line}: {}", code.trim()));
            }
        }
    }
    assert_none(&found, "talk to clusters and clouds through a port in controllers/src/clients/");
}

#[test]
fn dependencies_go_one_way() {
    let allowed: [(&str, &[&str]); 6] = [
        ("Cargo.toml", &[]),
        ("api-server/Cargo.toml", &["threeport"]),
        ("sdk/Cargo.toml", &["threeport"]),
        ("controllers/Cargo.toml", &["threeport", "threeport-sdk"]),
        ("cli/Cargo.toml", &["threeport", "threeport-sdk"]),
        ("tests/fuzz/Cargo.toml", &["threeport", "threeport-api-server", "threeport-sdk"]),
    ];
    let ours = ["threeport", "threeport-api-server", "threeport-controllers", "threeport-sdk", "tptctl"];
    let mut found = Vec::new();
    for (path, text) in files(&["Cargo.toml"]) {
        let permitted = allowed.iter().find(|(file, _)| *file == path).map_or(&[][..], |(_, permitted)| permitted);
        for name in dependencies(&text) {
            if ours.contains(&name.as_str()) && !permitted.contains(&name.as_str()) {
                found.push(format!("{path}: {name}"));
            }
        }
    }
    assert_none(&found, "cli → sdk → threeport, controllers → sdk → threeport, api-server → threeport; take these out");
}

/// The crates under `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    section.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned).collect()
}

#[test]
fn only_tests_ask_for_failpoints() {
    let mut found = Vec::new();
    for (path, text) in files(&["Cargo.toml"]) {
        let built = text.split("[dev-dependencies]").next().unwrap_or_default();
        let asks = |line: &&str| line.contains("features = [\"failpoints\"]") || line.starts_with("default =");
        found.extend(built.lines().filter(asks).map(|line| format!("{path}: {line}")));
    }
    assert_none(&found, "failpoints are for [dev-dependencies]: users' builds have none");
}

#[test]
fn every_package_takes_the_workspace_lints() {
    let lax = files(&["Cargo.toml"])
        .into_iter()
        .filter(|(_, text)| !text.contains("[lints]\nworkspace = true"))
        .map(|(path, _)| path)
        .collect::<Vec<_>>();
    assert_none(&lax, "add `[lints] workspace = true` to these manifests");
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() {
    // Spelled in two parts, or this file would name them.
    let places = [["/wo", "rk/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for (path, text) in files(&[]) {
        for (index, line) in text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_none(&found, "paths come from configuration, the environment or the user's folders");
}
