//! Who may call what: every method of the API, without a token, with a wrong one, and with that of the other side.

use prost::bytes::Bytes;
use threeport::POOL;
use tonic::Code;

use crate::system::*;

/// Every method of ours as `/service/method`, and whether it is for controllers.
fn methods() -> Vec<(String, bool)> {
    let services = POOL.services().filter(|service| service.package_name() == "threeport.v1");
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    let path = |method: prost_reflect::MethodDescriptor| {
        let service = method.parent_service().clone();
        (format!("/{}/{}", service.full_name(), method.name()), service.name() == "ControlService")
    };
    methods.map(path).collect()
}

async fn code(api: &Api, path: &str) -> Code {
    let mut grpc = tonic::client::Grpc::new(api.channel.clone());
    grpc.ready().await.expect("the server is there");
    let request = tonic::Request::new(Bytes::new());
    // The stream's first message stands for it: a refusal comes before any.
    let call = grpc.server_streaming(request, path.parse().unwrap(), BytesCodec);
    match tokio::time::timeout(std::time::Duration::from_secs(1), async { call.await?.into_inner().message().await })
        .await
    {
        Ok(Err(status)) => status.code(),
        _ => Code::Ok,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_in_the_access_table_and_denied_to_all_others() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let controller = Api::connect(&system.api.address, &system.controller_token());
    let wrong = Api::connect(&system.api.address, &random());
    assert!(methods().len() > 50);
    for (path, is_for_controllers) in methods() {
        assert_eq!(code(&wrong, &path).await, Code::Unauthenticated, "{path} with a wrong token");
        let as_user = code(&system.api, &path).await;
        let as_controller = code(&controller, &path).await;
        if is_for_controllers {
            assert_eq!(as_user, Code::PermissionDenied, "{path} with a user's token");
            assert_ne!(
                as_controller,
                Code::PermissionDenied,
                "{path} with a controller's token: add it to the access table"
            );
        } else {
            assert_ne!(as_user, Code::PermissionDenied, "{path} with a user's token: add it to the access table");
        }
        let is_write = ["Create", "Update", "Apply", "Delete"].iter().any(|verb| path.ends_with(&format!("/{verb}")));
        if is_write && !is_for_controllers {
            assert_eq!(as_controller, Code::PermissionDenied, "{path} with a controller's token");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_reflection_answer() {
    let mut system = System::start().await;
    let mut addresses = vec![system.api.address.clone()];
    addresses.push(format!("http://{}", system.controllers[0].address().await));
    for address in addresses {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let response = reqwest::get(format!("{address}{path}")).await.unwrap();
            assert_eq!(response.status(), 200, "{address}{path}");
        }
        let metrics = reqwest::get(format!("{address}/metrics")).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("# TYPE "), "{metrics}");
    }
    // Readiness looks at what it needs.
    system.broker.kill();
    eventually("the API server says that the broker is away", MINUTE, async || {
        let response = reqwest::get(format!("{}/readyz", system.api.address)).await.unwrap();
        let status = response.status();
        when(status == 503, format!("{status}: {}", response.text().await.unwrap()))
    })
    .await;
}
