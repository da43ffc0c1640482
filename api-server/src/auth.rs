//! Who is calling, and what they may call. Nothing reaches a service unchecked.

mod access;
mod tokens;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tonic::Status;

pub use access::{Access, access_of};
pub use tokens::Tokens;

use crate::error::Error;

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Controller,
}

/// Who is calling; in the extensions of every request that reaches a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `user:bootstrap`, `controller:widget`: the actor in the log.
    pub identity: String,
    pub role: Role,
    /// The controllers that it may act as, each `kind/name`; `*` for all.
    pub controllers: Vec<String>,
}

impl Caller {
    /// Whether its token names this controller of this kind.
    pub fn may_act_as(&self, kind: &str, controller: &str) -> bool {
        let is_named = |name: &String| name == "*" || name.split_once('/') == Some((kind, controller));
        self.role == Role::Controller && self.controllers.iter().any(is_named)
    }
}

/// The caller of a method, or why it may not be called. `path` is the gRPC path; none is called by nobody.
///
/// # Errors
/// `UNAUTHENTICATED` without a known token, `PERMISSION_DENIED` where the role doesn't suffice.
pub fn check(
    tokens: &Tokens,
    headers: &HeaderMap,
    path: &str,
    is_kind_service: bool,
) -> Result<Option<Caller>, Status> {
    let access = access_of(path, is_kind_service);
    if access == Some(Access::Open) {
        return Ok(None);
    }
    let caller = bearer(headers).and_then(|token| tokens.caller(token)).ok_or(Error::Unauthenticated)?;
    let is_allowed = match access {
        Some(Access::Any | Access::Open) => true,
        Some(Access::User) => caller.role == Role::User,
        Some(Access::Controller) => caller.role == Role::Controller,
        None => return Err(Status::unimplemented(format!("unknown method `{path}`; reflection lists all"))),
    };
    if is_allowed {
        return Ok(Some(caller));
    }
    let needed = if access == Some(Access::User) { "user" } else { "controller" };
    Err(Error::Denied(format!("`{}` may not call `{path}`; it needs a token with role {needed}", caller.identity))
        .into())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use threeport::POOL;
    use threeport::registry::Registry;
    use tonic::Code;

    use super::*;

    #[test]
    fn every_method_has_a_rule() {
        for service in POOL.services() {
            let is_kind_service = Registry::built_in().kinds().any(|kind| kind.service_name() == service.full_name());
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                assert!(
                    access_of(&path, is_kind_service).is_some(),
                    "say in api-server/src/auth/access.rs who may call {path}"
                );
            }
        }
    }

    fn headers(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
    }

    #[test]
    fn callers_are_told_what_to_do() {
        let tokens = Tokens::new("user-token", "controller-token", "[]").unwrap();
        let check = |token: &str, path: &str| check(&tokens, &headers(token), path, path.contains("Workload"));
        let code = |token: &str, path: &str| check(token, path).map(|_| ()).map_err(|status| status.code());
        assert_eq!(code("wrong", "/threeport.v1.ObjectService/Get"), Err(Code::Unauthenticated));
        assert_eq!(code("user-token", "/threeport.v1.ObjectService/Apply"), Ok(()));
        assert_eq!(code("user-token", "/threeport.v1.ControlService/Begin"), Err(Code::PermissionDenied));
        assert_eq!(code("controller-token", "/threeport.v1.ControlService/Begin"), Ok(()));
        assert_eq!(code("controller-token", "/threeport.v1.WorkloadService/Delete"), Err(Code::PermissionDenied));
        assert_eq!(code("controller-token", "/threeport.v1.WorkloadService/Get"), Ok(()));
        assert_eq!(code("user-token", "/threeport.v1.ObjectService/Nothing"), Err(Code::Unimplemented));
        assert_eq!(code("wrong", "/grpc.health.v1.Health/Check"), Ok(()));
        let denied = check("user-token", "/threeport.v1.ControlService/Begin").unwrap_err();
        assert!(denied.message().contains("needs a token with role controller"), "{}", denied.message());
    }

    #[test]
    fn a_controllers_token_names_its_controllers() {
        // printf widget-token | sha256sum
        let file = r#"[{"sha256": "7b19644120a40fb584cb79fe9492bc50d3c1e9c02191b306241fa9d62d7ebccf", "identity": "controller:widget",
                        "role": "controller", "controllers": ["widget/widget"]}]"#;
        let tokens = Tokens::new("user-token", "controller-token", file).unwrap();
        let widget = tokens.caller("widget-token").unwrap();
        assert!(widget.may_act_as("widget", "widget") && !widget.may_act_as("workload", "workload"));
        assert!(tokens.caller("controller-token").unwrap().may_act_as("workload", "workload"));
        assert!(!tokens.caller("user-token").unwrap().may_act_as("workload", "workload"));
    }
}
