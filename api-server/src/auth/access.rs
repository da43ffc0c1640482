//! Who may call which method: denied unless it stands here.

/// Whom a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Open,
    /// Every known caller.
    Any,
    User,
    Controller,
}

const METHODS: &[(&str, Access)] = &[
    ("/grpc.health.v1.Health/Check", Access::Open),
    ("/grpc.health.v1.Health/List", Access::Open),
    ("/grpc.health.v1.Health/Watch", Access::Open),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Access::Any),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Access::Any),
    ("/threeport.v1.ControlService/AcquireLease", Access::Controller),
    ("/threeport.v1.ControlService/Begin", Access::Controller),
    ("/threeport.v1.ControlService/CheckTombstones", Access::Controller),
    ("/threeport.v1.ControlService/Finish", Access::Controller),
    ("/threeport.v1.ControlService/ListInventory", Access::Controller),
    ("/threeport.v1.ControlService/Record", Access::Controller),
    ("/threeport.v1.ControlService/Renew", Access::Controller),
    ("/threeport.v1.ControlService/Sweep", Access::Controller),
    ("/threeport.v1.ControlService/Wake", Access::Controller),
    ("/threeport.v1.ObjectService/Apply", Access::User),
    ("/threeport.v1.ObjectService/Create", Access::User),
    ("/threeport.v1.ObjectService/Delete", Access::User),
    ("/threeport.v1.ObjectService/DeleteMany", Access::User),
    ("/threeport.v1.ObjectService/Events", Access::Any),
    ("/threeport.v1.ObjectService/Get", Access::Any),
    ("/threeport.v1.ObjectService/GetVersion", Access::Any),
    ("/threeport.v1.ObjectService/History", Access::Any),
    ("/threeport.v1.ObjectService/List", Access::Any),
    ("/threeport.v1.ObjectService/ListKinds", Access::Any),
    ("/threeport.v1.ObjectService/Render", Access::Any),
    ("/threeport.v1.ObjectService/Update", Access::User),
    ("/threeport.v1.ObjectService/Wait", Access::Any),
    ("/threeport.v1.ObjectService/Watch", Access::Any),
];

/// The same for every kind.
const METHODS_OF_KINDS: &[(&str, Access)] = &[
    ("Apply", Access::User),
    ("Create", Access::User),
    ("Delete", Access::User),
    ("Get", Access::Any),
    ("List", Access::Any),
    ("Update", Access::User),
];

/// Who may call the method of this gRPC path; none if nobody may.
pub fn access_of(path: &str, is_kind_service: bool) -> Option<Access> {
    let (table, key) = if is_kind_service { (METHODS_OF_KINDS, path.rsplit_once('/')?.1) } else { (METHODS, path) };
    table.binary_search_by_key(&key, |(method, _)| method).ok().map(|index| table[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(METHODS.is_sorted_by_key(|(method, _)| method), "sort METHODS in api-server/src/auth/access.rs");
        assert!(METHODS_OF_KINDS.is_sorted_by_key(|(method, _)| method), "sort METHODS_OF_KINDS");
    }
}
