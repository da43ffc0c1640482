//! `tptctl up` and `down`: a control plane of local processes that outlives its starter and leaves nothing behind.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::system::*;

#[tokio::test(flavor = "multi_thread")]
async fn up_is_idempotent_restarts_what_crashes_and_down_leaves_nothing() {
    let home = Home::new();
    let up = home.tptctl.run(&["up", "trial"]).await.ok();
    assert!(!up.text().contains("panicked"), "{up:#?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(home.folder.path().join("config.yaml")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let before = home.processes();
    home.tptctl.run(&["up", "trial"]).await.ok();
    assert_eq!(home.processes(), before, "a second up changed what runs");
    home.tptctl.run(&["status"]).await.ok();

    // What crashes comes again.
    let server = before.iter().find(|(_, command)| command.contains("threeport-api-server")).expect("it runs");
    kill(Pid::from_raw(server.0), Signal::SIGSTOP).unwrap();
    eventually("status complains", MINUTE, async || {
        let status = home.tptctl.run(&["status"]).await;
        when(status.code == 1 && status.stderr.contains("api-server"), format!("{status:?}"))
    })
    .await;
    kill(Pid::from_raw(server.0), Signal::SIGKILL).unwrap();
    let definition = definition("kept", &config_map("settings", "a", "b"));
    eventually("the API server answers again", MINUTE, async || {
        let applied = home.tptctl.apply(&file(std::slice::from_ref(&definition)), &[]).await;
        when(applied.code == 0, format!("{applied:?}"))
    })
    .await;

    home.tptctl.run(&["down", "trial"]).await.ok();
    home.is_empty().await;
    home.tptctl.run(&["up", "trial"]).await.ok();
    let kept = home.tptctl.run(&["get", "workload-definition", "-o", "name"]).await.ok();
    assert_eq!(kept.stdout.trim(), "workload-definition/kept");
    home.tptctl.run(&["down", "trial", "--delete-data", "--yes"]).await.ok();
    home.is_empty().await;
    let left = fs::read_dir(home.folder.path().join("planes")).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "data is left");
    home.tptctl.run(&["down", "trial"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_other_projects_use_is_as_it_was_after_down_and_up() {
    let home = Home::new();
    home.tptctl.run(&["up", "trial", "--sandbox"]).await.ok();
    let documents = "{version: v1, kind: project, name: shop, spec: {default_runtime: default/sandbox}}
---
{version: v1, kind: workload-definition, name: settings, project: shop, spec: {manifest: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}'}}
---
{version: v1, kind: workload-instance, name: settings, project: shop, spec: {definition: settings}}
";
    let sandbox = home.tptctl.run(&["get", "runtime/sandbox", "-o", "yaml"]).await.ok().stdout;
    let shared = sandbox.replace("name: sandbox\n", "name: sandbox\nlabels: {tier: dev}\nshared_with: [shop]\n");
    home.tptctl.apply(&format!("{shared}\n---\n{documents}"), &["--wait"]).await.ok();
    let before = home.tptctl.run(&["get", "runtime/sandbox", "-o", "yaml"]).await.ok().stdout;
    assert!(before.contains("tier: dev") && before.contains("shop"), "{before}");

    home.tptctl.run(&["down", "trial"]).await.ok();
    let up = home.tptctl.run(&["up", "trial"]).await.ok();
    assert!(!up.stderr.contains("warning"), "{up:#?}");
    assert_eq!(home.tptctl.run(&["get", "runtime/sandbox", "-o", "yaml"]).await.ok().stdout, before);
    let refused = home.tptctl.run(&["down", "trial", "--delete-data"]).await.failed();
    assert!(refused.stderr.contains("--yes"), "{refused:#?}");
    home.tptctl.run(&["down", "trial", "--delete-data", "--yes"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_up_leaves_nothing_behind() {
    let home = Home::new();
    for pause in [100, 700, 1500] {
        let mut up = Command::new(binary("tptctl"));
        up.args(["up", "trial"]).envs(home.tptctl.environment()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut up = up.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if up.try_wait().unwrap().is_some() {
            // This machine was faster than the interruption.
            home.tptctl.run(&["down", "trial", "--delete-data", "--yes"]).await.ok();
            continue;
        }
        kill(Pid::from_raw(i32::try_from(up.id()).unwrap()), Signal::SIGINT).unwrap();
        let status = eventually("it ends when interrupted", MINUTE, async || {
            up.try_wait().unwrap().ok_or_else(|| "it runs".into())
        });
        assert!(!status.await.success());
        home.is_empty().await;
        let left = fs::read_dir(home.folder.path().join("planes")).map(Iterator::count).unwrap_or_default();
        assert_eq!(left, 0, "data is left after {pause} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ups_at_once_make_one_control_plane() {
    let home = Home::new();
    let arguments = ["up", "trial"];
    let (first, second) = tokio::join!(home.tptctl.run(&arguments), home.tptctl.run(&arguments));
    for up in [first, second] {
        up.ok();
    }
    let servers = home.processes().into_iter().filter(|(_, command)| command.contains("threeport-api-server"));
    assert_eq!(servers.count(), 1, "{:#?}", home.processes());
    home.tptctl.run(&["get", "projects"]).await.ok();
    home.tptctl.run(&["down", "trial", "--delete-data", "--yes"]).await.ok();
    home.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_there_are_told_at_once_and_nothing_is_left() {
    let home = Home::new();
    let nowhere = free_port();
    let cases = [
        ["--nats-url", &format!("nats://user:hunter2@127.0.0.1:{nowhere}")],
        ["--database-url", &format!("postgres://me:hunter2@127.0.0.1:{nowhere}/x")],
    ]
    .map(|[flag, url]| [flag.to_owned(), url.to_owned()]);
    for [flag, url] in cases {
        let started = std::time::Instant::now();
        let failed = home.tptctl.run(&["up", "trial", &flag, &url]).await.failed();
        assert!(failed.stderr.contains("127.0.0.1") && failed.stderr.contains(&flag), "{failed:#?}");
        assert!(!failed.text().contains("hunter2"), "{failed:#?}");
        assert!(started.elapsed() < MINUTE / 2, "{:?}", started.elapsed());
        assert!(!home.folder.path().join("planes").exists(), "something is left");
    }
}
