//! Free ports on loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Whether nothing listens on this port of 127.0.0.1.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// That many free ports, all different.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()
        .context("no free port on 127.0.0.1")?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr().context("asking for the port of a listener")?.port()))
        .collect()
}

/// Gives each name a port: the one it had if still free, else another.
pub fn assign(names: &[&str], before: &BTreeMap<String, u16>) -> Result<BTreeMap<String, u16>> {
    let mut ports: BTreeMap<String, u16> = names
        .iter()
        .filter_map(|name| before.get(*name).filter(|port| is_free(**port)).map(|port| ((*name).to_owned(), *port)))
        .collect();
    let missing: Vec<&&str> = names.iter().filter(|name| !ports.contains_key(**name)).collect();
    let fresh = free(missing.len())?;
    ports.extend(missing.into_iter().map(|name| (*name).to_owned()).zip(fresh));
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_while_it_is_free() {
        let first = assign(&["a", "b"], &BTreeMap::new()).unwrap();
        assert_ne!(first["a"], first["b"]);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first["b"])).unwrap();
        let second = assign(&["a", "b"], &first).unwrap();
        assert_eq!(second["a"], first["a"]);
        assert_ne!(second["b"], taken.local_addr().unwrap().port());
    }
}
