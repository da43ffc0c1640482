//! `tptctl up --sandbox`: a first look, from nothing to an application and back to nothing.

use std::fs;

use crate::system::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_comes_up_takes_an_application_and_goes_without_a_trace() {
    let home = Home::new();
    let up = home.tptctl.run(&["up", "look", "--sandbox"]).await.ok();
    assert!(up.stderr.contains("simulated nodes; nothing really runs"), "{up:#?}");
    let deployed = home.tptctl.run(&["deploy", "web", "--image", "nginx:1.29", "--port", "80", "--wait"]).await.ok();
    assert!(deployed.text().contains("ready: workload/web"), "{deployed:#?}");
    let table = home.tptctl.run(&["get", "workload-instances"]).await.ok().stdout;
    assert!(["web-default", "sandbox", "Healthy (simulated)"].iter().all(|part| table.contains(part)), "{table}");

    let status = home.tptctl.run(&["status", "look"]).await.ok();
    let processes = ["postgres", "nats", "api-server", "controllers", "kube-apiserver", "etcd", "kwok"];
    assert!(processes.iter().all(|name| status.stdout.contains(name)), "{status:#?}");
    assert!(!status.stdout.contains("crashed"), "{status:#?}");
    let running = home.processes();
    assert!(running.len() > processes.len(), "its processes and their supervisor: {running:#?}");

    home.tptctl.run(&["down", "look", "--delete-data", "--yes"]).await.ok();
    home.is_empty().await;
    let left = fs::read_dir(home.folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
    assert_eq!(left, ["config.yaml"], "only the contexts file stays");
    let contexts = fs::read_to_string(home.folder.path().join("config.yaml")).unwrap();
    assert!(!contexts.contains("look"), "{contexts}");
    home.tptctl.run(&["status", "look"]).await.failed();
}
