//! Deletion: nothing stays but what is to be kept, nothing that is used goes, and what can't be reached is said.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tonic::Code;

use crate::system::*;

/// Deployment, config map, and what is to be kept: a stateful set's claims and a config map marked so.
fn keeping(tag: &str) -> String {
    let store = format!(
        "
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: store-{tag}}}
spec:
  serviceName: store
  selector: {{matchLabels: {{app: store}}}}
  template:
    metadata: {{labels: {{app: store}}}}
    spec: {{containers: [{{name: store, image: 'redis:7'}}]}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: kept-{tag}, annotations: {{threeport.io/on-delete: retain}}}}
data: {{a: b}}
"
    );
    manifests(&[&going(tag), &store])
}

fn going(tag: &str) -> String {
    let role = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: role-{tag}}}, rules: []}}\n"
    );
    manifests(&[
        &deployment(&format!("web-{tag}"), "nginx:1.27", 2),
        &config_map(&format!("settings-{tag}"), "a", "b"),
        &role,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_workload_leaves_no_trace_in_the_cluster_and_only_history_in_the_database() {
    let system = System::start().await;
    let (before, web) = (system.in_cluster().await, format!("web-{}", system.tag));
    assert_eq!(before, BTreeSet::new());
    let workload = document("workload", &web, json!({ "manifest": going(&system.tag) }));
    system.tptctl.apply(&file(&[workload]), &["--wait"]).await.ok();
    let id =
        system.api.get("workload-instance", &format!("{web}-default")).await["meta"]["id"].as_str().unwrap().to_owned();
    assert!(system.in_cluster().await.len() >= 6, "namespace, deployment, replica set, pods, config map, cluster role");

    system.tptctl.run(&["delete", "workload", &web, "--wait"]).await.ok();
    for kind in ["workload", "workload-definition", "workload-instance"] {
        assert_eq!(system.api.list(kind).await, Vec::<Value>::new());
    }
    eventually("the cluster is as before", MINUTE, async || {
        let left = system.in_cluster().await;
        when(left == before, format!("{left:#?}"))
    })
    .await;
    let dump = system.database.dump().await;
    let tables = dump.lines().filter(|line| line.contains(&id)).map(|line| line.split(':').next().unwrap());
    // Events and answers to repeated requests go by themselves, with time.
    let tables = tables.filter(|table| !["events", "request_ids"].contains(table)).collect::<BTreeSet<_>>();
    assert_eq!(tables, BTreeSet::from(["changes", "tombstones"]), "{dump}");
    for table in ["inventory", "shared_resources", "shared_resource_users", "fan_outs", "pinned_generations"] {
        assert!(!dump.contains(&format!("\n{table}: ")), "{table} is not empty");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_what_is_marked_stay_and_are_listed() {
    let system = System::start().await;
    let tag = system.tag.clone();
    let documents = [definition("store", &keeping(&tag)), instance(&format!("one-{tag}"), "store")];
    system.tptctl.apply(&file(&documents), &["--wait"]).await.ok();
    let instance = system.api.wait_ready("workload-instance", &format!("one-{tag}")).await;
    let namespace = instance["status"]["namespace"].as_str().unwrap();

    let printed = system.tptctl.run(&["delete", "workload-instance", &format!("one-{tag}"), "--wait"]).await.ok();
    let kept = [format!("kept-{tag}"), format!("data-store-{tag}-0")];
    assert!(kept.iter().all(|name| printed.text().contains(name)), "the answer lists what stays: {printed:#?}");
    let expected = [
        format!("Namespace {namespace}"),
        format!("ConfigMap {namespace}/kept-{tag}"),
        format!("PersistentVolumeClaim {namespace}/data-store-{tag}-0"),
    ];
    let theirs = ["ConfigMap kube-root-ca.crt", "ServiceAccount default"]
        .map(|each| each.replace(' ', &format!(" {namespace}/")));
    let expected = expected.into_iter().chain(theirs).collect::<BTreeSet<_>>();
    eventually("only what is kept stays", MINUTE, async || {
        let left = system.in_cluster().await;
        when(left == expected, format!("{left:#?}"))
    })
    .await;
    let label = system.cluster.get(&format!("/api/v1/namespaces/{namespace}/configmaps/kept-{tag}")).await.unwrap();
    assert_eq!(label["metadata"]["labels"]["threeport.io/instance"], Value::Null, "what is kept is nobody's");

    // With --delete-data nothing stays.
    let again = format!("two-{tag}");
    system.tptctl.apply(&file(&[self::instance(&again, "store")]), &["--wait"]).await.ok();
    system.tptctl.run(&["delete", "workload-instance", &again, "--delete-data", "--wait"]).await.ok();
    eventually("nothing of the second stays", MINUTE, async || {
        let left = system.in_cluster().await;
        when(left == expected, format!("{left:#?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_with_volumes_turns_ready_and_the_answer_says_how_to_remove_what_stays() {
    let system = System::start().await;
    let name = format!("store-{}", system.tag);
    let spec = json!({ "image": "redis:7", "volumes": [{ "path": "/data", "size": "1Gi" }] });
    system.tptctl.apply(&file(&[document("workload", &name, spec)]), &["--wait"]).await.ok();
    let instance = system.api.get("workload-instance", &format!("{name}-default")).await;
    let namespace = instance["status"]["namespace"].as_str().unwrap();
    let deleted = system.tptctl.run(&["delete", "workload", &name, "--wait"]).await.ok();
    let line = format!("kubectl -n {namespace} delete persistentvolumeclaim/data-{name}-0");
    assert!(deleted.stdout.contains(&line), "{deleted:#?}");
    let claims = system.cluster.list(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims")).await;
    assert_eq!(claims[0]["status"]["phase"], "Bound", "{claims:#?}");
    let events = system.tptctl.run(&["events", "workload-instance", &format!("{name}-default")]).await.ok();
    assert!(events.stdout.contains(&line), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_is_not_deleted_and_the_answer_names_the_users() {
    let system = System::start().await;
    let documents =
        [definition("web", &config_map("settings", "a", "b")), instance("web-1", "web"), instance("web-2", "web")];
    system.api.apply(&documents).await.unwrap();
    for (kind, name) in [("workload-definition", "web"), ("kubernetes-runtime-instance", "local")] {
        let refused = refusal(system.api.delete(kind, name).await);
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(["web-1", "web-2"].iter().all(|user| refused.message().contains(user)), "{}", refused.message());
        let printed = system.tptctl.run(&["delete", kind, name]).await.failed();
        assert!(printed.stderr.contains("web-1"), "{printed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_races_a_create_leaves_no_instance_without_its_definition() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    for round in 0..40 {
        let [web, one] = ["web", "one"].map(|name| format!("{name}-{round}"));
        system.api.apply(&[definition(&web, &config_map("settings", "a", "b"))]).await.unwrap();
        let documents = [instance(&one, &web)];
        let (created, deleted) =
            tokio::join!(system.api.apply(&documents), system.api.delete("workload-definition", &web));
        match (&created, &deleted) {
            (Ok(_), Err(refused)) => {
                assert!(refused.message().contains(&one), "{}", refused.message());
                system.api.get("workload-definition", &web).await;
            }
            (Err(refused), Ok(_)) => {
                assert!(
                    matches!(refused.code(), Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition),
                    "{refused}"
                );
                assert_eq!(refusal(system.api.find("workload-definition", &web).await).code(), Code::NotFound);
            }
            both => panic!("one of the two is to be refused: {both:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_is_gone_is_a_condition_and_orphan_gives_it_up() {
    let system = System::start().await;
    let port = free_port();
    let gone = format!("https://127.0.0.1:{port}");
    let lost = json!({ "endpoint": gone, "token": "lost-token" });
    let mut instance = instance("stranded", "web");
    instance["spec"]["runtime"] = json!("lost");
    let documents = [
        document("kubernetes-runtime-instance", "lost", lost),
        definition("web", &config_map("settings", "a", "b")),
        instance,
    ];
    system.api.apply(&documents).await.unwrap();
    let refused = |object: &Value| condition(object, "Ready")["status"] == "False";
    let runtime = system.api.wait_for("kubernetes-runtime-instance", "lost", "known to be gone", refused).await;
    assert!(runtime["status"]["reachable"] != true, "{runtime}");
    let stranded = system.api.wait_for("workload-instance", "stranded", "known to be stranded", refused).await;
    let ready = condition(&stranded, "Ready");
    assert!(ready["message"].as_str().unwrap().contains("lost"), "the message names the runtime: {ready}");

    system.api.delete("workload-instance", "stranded").await.unwrap();
    let deleting = |object: &Value| object["meta"]["deleted_at"].is_string() && refused(object);
    system.api.wait_for("workload-instance", "stranded", "kept until its absence is proved", deleting).await;
    system.tptctl.run(&["delete", "workload-instance", "stranded", "--orphan", "--wait"]).await.ok();
    system.api.wait_gone("workload-instance", "stranded").await;
    assert_eq!(system.database.number("SELECT count(*) FROM receipts WHERE name = 'stranded'").await, 1);
    assert_eq!(system.database.number("SELECT count(*) FROM tombstones WHERE name = 'stranded'").await, 0);
    system.tptctl.run(&["delete", "kubernetes-runtime-instance", "lost", "--wait", "--yes"]).await.ok();
}
