//! The benchmark keeps working: a run that is too small to say anything about speed.

use std::process::Command;

use serde_json::Value;

use crate::system::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_short_run_of_the_benchmark_measures_what_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let run = tokio::task::spawn_blocking({
        let file = file.clone();
        move || {
            let mut command = Command::new(binary("examples/bench"));
            command.args(["--apps", "3", "--only", "list,rollout", "--json"]).arg(file).output()
        }
    });
    let output = tokio::time::timeout(MINUTE * 5, run).await.expect("it ends").unwrap().unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    let report = serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap();
    let figures = report["figures"].as_array().unwrap();
    for phase in ["list", "rollout"] {
        assert!(figures.iter().any(|figure| figure["phase"] == phase), "nothing of `{phase}`: {table}");
    }
    for figure in figures {
        assert!(table.contains(figure["name"].as_str().unwrap()), "{figure} is not in the table: {table}");
        assert!(figure["value"].as_f64().is_some_and(|value| value.is_finite() && value >= 0.0), "{figure}");
    }
    let calls =
        figures.iter().find(|figure| figure["phase"] == "rollout" && figure["name"] == "cluster calls a workload");
    assert_eq!(calls.unwrap()["value"], 1.0, "one object was changed in each");
}
