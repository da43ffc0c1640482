//! The bearer tokens that are known, as digests.

use std::path::Path;

use anyhow::{Context, ensure};
use ring::digest::{SHA256, digest as hash};

use super::{Caller, Role};

/// A token is guessed in vain from this length on.
const MIN_LENGTH: usize = 8;

/// Every known token, as SHA-256, and whom it stands for.
#[derive(Debug)]
pub struct Tokens(Vec<(Vec<u8>, Caller)>);

/// One token of a tokens file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// In hexadecimal, of the token's bytes.
    sha256: String,
    identity: String,
    role: Role,
    #[serde(default)]
    controllers: Vec<String>,
}

impl Tokens {
    /// The bootstrap tokens of the user and of our controllers, and those of a tokens file (a JSON list).
    ///
    /// # Errors
    /// When a token is too short or the list is malformed.
    pub fn new(user: &str, controller: &str, others: &str) -> anyhow::Result<Self> {
        let (user, controller) = (user.trim(), controller.trim());
        for token in [user, controller] {
            ensure!(token.len() >= MIN_LENGTH, "a token must have at least {MIN_LENGTH} characters");
        }
        ensure!(user != controller, "the user's and the controllers' token must differ");
        let mut tokens = Vec::new();
        let all = vec!["*".to_owned()];
        for (token, identity, role, controllers) in [
            (user, "user:bootstrap", Role::User, Vec::new()),
            (controller, "controller:bootstrap", Role::Controller, all),
        ] {
            tokens.push((digest(token), Caller { identity: identity.to_owned(), role, controllers }));
        }
        let entries: Vec<Entry> =
            serde_json::from_str(others).context("the tokens file is not a JSON list of tokens")?;
        for entry in entries {
            let digest = hexadecimal(&entry.sha256)
                .with_context(|| format!("sha256 of `{}` is not 64 hexadecimal digits", entry.identity))?;
            let caller = Caller { identity: entry.identity, role: entry.role, controllers: entry.controllers };
            tokens.push((digest, caller));
        }
        Ok(Self(tokens))
    }

    /// The same from files; without a tokens file there are the two bootstrap tokens alone.
    ///
    /// # Errors
    /// When a file can't be read, and as [`Tokens::new`].
    pub fn read(user: &Path, controller: &Path, others: Option<&Path>) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("can't read the token file `{}`", path.display()))
        };
        let others = others.map_or_else(|| Ok("[]".to_owned()), read)?;
        Self::new(&read(user)?, &read(controller)?, &others)
    }

    /// Whom a token stands for. Looks at all of them whatever matches, so that time tells nothing.
    pub fn caller(&self, token: &str) -> Option<Caller> {
        let digest = digest(token);
        let mut found = None;
        for (known, caller) in &self.0 {
            if is_equal(known, &digest) {
                found = Some(caller);
            }
        }
        found.cloned()
    }
}

fn digest(token: &str) -> Vec<u8> {
    hash(&SHA256, token.as_bytes()).as_ref().to_vec()
}

/// Takes the same time wherever the digests differ.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let is_digest = text.len() == 64 && text.is_ascii();
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    is_digest.then(|| (0..64).step_by(2).map(byte).collect()).flatten()
}
