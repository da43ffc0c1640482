//! Who calls too often is told when to come back, and tptctl does.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tonic::Code;
use tonic_types::StatusExt;

use crate::system::*;

#[tokio::test(flavor = "multi_thread")]
async fn too_many_calls_of_one_identity_are_put_off_and_no_others() {
    let system = Setup { controllers: 0, rate_limit: Some(1), ..Setup::default() }.start().await;
    let answers = join_all((0..40).map(|_| system.api.try_list("workload"))).await;
    let refused = answers.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(refused.len() >= 25, "{} of 40 were refused", refused.len());
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("`user:bootstrap`") && status.message().contains("slow down"), "{status}");
        let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("it says when to retry");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
    }

    // Over REST the same, as its status.
    let url = format!("{}/v1/projects/default/workloads", system.api.address);
    let http = reqwest::Client::new();
    let get = async || http.get(&url).bearer_auth(&system.api.token).send().await.unwrap();
    let answers = join_all((0..40).map(|_| get())).await;
    let refused = answers.into_iter().find(|answer| answer.status() == 429).expect("40 at once are too many");
    assert_eq!(refused.headers()["retry-after"], "1");
    let told = refused.json::<Value>().await.unwrap();
    assert!(told["code"] == 8 && told["details"].to_string().contains("RetryInfo"), "{told}");

    // Another identity has a bucket of its own, and tptctl waits.
    let controller = Api::connect(&system.api.address, &system.controller_token());
    controller.list("workload").await;
    let runs = join_all((0..8).map(|_| system.tptctl.run(&["get", "workloads"]))).await;
    for run in runs {
        run.ok();
    }
}
