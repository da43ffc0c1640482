//! Sensitive values at rest: AES-256-GCM, bound to their object and field, so that they can't be moved or read elsewhere.
//!
//! A stored value reads `enc:<key id>:<base64 of nonce and ciphertext>`. The first key of the ring encrypts, all decrypt.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;
use threeport::kind::Kind;
use uuid::Uuid;

use crate::error::{Error, Result};

const PREFIX: &str = "enc:";

/// The keys for sensitive values. Never printed.
pub struct Keyring {
    keys: Vec<(String, LessSafeKey)>,
    /// Of the same keys, in the same order.
    fingerprints: Vec<hmac::Key>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Keyring {
    /// Reads a key file: lines `id:base64 of 32 bytes`, the key that encrypts first; `#` begins a comment.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.enumerate().map(|(index, line)| parse_key(index + 1, line)).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(Error::Configuration("the encryption key file has no key; write a line `id:base64`".into()));
        }
        let (keys, fingerprints) = keys.into_iter().unzip();
        Ok(Self { keys, fingerprints })
    }

    /// What a text is recognized by later, telling nothing of it: with each key, that which encrypts first.
    pub fn fingerprints(&self, text: &str) -> Vec<Vec<u8>> {
        self.fingerprints.iter().map(|key| hmac::sign(key, text.as_bytes()).as_ref().to_vec()).collect()
    }

    /// Encrypts every sensitive value of a spec. A value that is what `previous` (in the clear) was keeps its ciphertext.
    pub fn conceal(&self, kind: &Kind, id: Uuid, spec: &mut Value, previous: Option<(&Value, &Value)>) -> Result<()> {
        let mut kept = HashMap::new();
        if let Some((clear, stored)) = previous {
            let stored = places(kind, stored);
            for (place, value) in places(kind, clear) {
                if let Some(ciphertext) = stored.get(&place) {
                    kept.insert((place, value), ciphertext.clone());
                }
            }
        }
        let mut outcome = Ok(());
        kind.visit_sensitive(spec, &mut |place, value| {
            let Some(text) = value.as_str() else { return };
            let sealed = match kept.get(&(place.to_owned(), text.to_owned())) {
                Some(ciphertext) => Ok(ciphertext.clone()),
                None => self.encrypt(id, place, text),
            };
            match sealed {
                Ok(sealed) => *value = Value::from(sealed),
                Err(error) => outcome = Err(error),
            }
        });
        outcome
    }

    /// Decrypts every sensitive value of a stored spec.
    pub fn reveal(&self, kind: &Kind, id: Uuid, spec: &mut Value) -> Result<()> {
        let mut outcome = Ok(());
        kind.visit_sensitive(spec, &mut |place, value| {
            let Some(text) = value.as_str() else { return };
            match self.decrypt(id, place, text) {
                Ok(clear) => *value = Value::from(clear),
                Err(error) => outcome = Err(error),
            }
        });
        outcome
    }

    /// Whether there are keys beside the one that encrypts.
    pub fn has_older_keys(&self) -> bool {
        self.keys.len() > 1
    }

    fn encrypt(&self, id: Uuid, place: &str, text: &str) -> Result<String> {
        let (key_id, key) = &self.keys[0];
        let failed = |_| Error::Corrupt(format!("can't encrypt {place} of {id}"));
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = text.as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(id, place), &mut sealed)
            .map_err(failed)?;
        let bytes = [nonce.as_slice(), &sealed].concat();
        Ok(format!("{PREFIX}{key_id}:{}", STANDARD.encode(bytes)))
    }

    fn decrypt(&self, id: Uuid, place: &str, stored: &str) -> Result<String> {
        let corrupt = |why: &str| Error::Corrupt(format!("{place} of {id}: {why}"));
        let (key_id, text) = stored
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(|| corrupt("not an encrypted value"))?;
        let (_, key) = self
            .keys
            .iter()
            .find(|(id, _)| id == key_id)
            .ok_or_else(|| corrupt(&format!("key `{key_id}` is not in the key file")))?;
        let mut bytes = STANDARD.decode(text).map_err(|_| corrupt("not base64"))?;
        if bytes.len() < NONCE_LEN {
            return Err(corrupt("too short"));
        }
        let mut sealed = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| corrupt("no nonce"))?;
        let clear = key
            .open_in_place(nonce, bound_to(id, place), &mut sealed)
            .map_err(|_| corrupt("does not decrypt; is it another control plane's database?"))?;
        String::from_utf8(clear.to_vec()).map_err(|_| corrupt("not UTF-8"))
    }

    fn is_current(&self, stored: &str) -> bool {
        stored.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':')).is_some_and(|(id, _)| id == self.keys[0].0)
    }

    /// Encrypts with the first key what another has encrypted; says whether there was any.
    pub fn renew(&self, kind: &Kind, id: Uuid, spec: &mut Value) -> Result<bool> {
        let is_current = places(kind, spec).values().all(|stored| self.is_current(stored));
        if is_current {
            return Ok(false);
        }
        self.reveal(kind, id, spec)?;
        self.conceal(kind, id, spec, None)?;
        Ok(true)
    }
}

fn parse_key(line_number: usize, line: &str) -> Result<((String, LessSafeKey), hmac::Key)> {
    let invalid = |why: &str| Error::Configuration(format!("encryption key file, key {line_number}: {why}"));
    let (id, key) = line.split_once(':').ok_or_else(|| invalid("expected `id:base64`"))?;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(invalid("the id must be made of letters, digits and `-`"));
    }
    let bytes = STANDARD.decode(key.trim()).map_err(|_| invalid("not base64"))?;
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| invalid("expected 32 bytes"))?;
    // One key for one purpose: that of fingerprints is derived.
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), b"threeport request fingerprints");
    let fingerprints = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
    Ok(((id.to_owned(), LessSafeKey::new(key)), fingerprints))
}

fn bound_to(id: Uuid, place: &str) -> Aad<Vec<u8>> {
    Aad::from([id.as_bytes().as_slice(), place.as_bytes()].concat())
}

/// Sensitive strings of a spec by their place.
pub fn places(kind: &Kind, spec: &Value) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for path in &kind.sensitive {
        path.visit(spec, "", &mut |place, value| {
            if let Some(text) = value.as_str() {
                found.insert(place.to_owned(), text.to_owned());
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::registry::Registry;

    use super::*;

    const OLD: &str = "old:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "new:HxAREhMUFRYXGBkaGxwdHgABAgMEBQYHCAkKCwwNDg8=";

    fn stored(keyring: &Keyring, id: Uuid, spec: &Value) -> Value {
        let mut spec = spec.clone();
        keyring.conceal(Registry::built_in().get("workload-definition").unwrap(), id, &mut spec, None).unwrap();
        spec
    }

    #[test]
    fn secrets_come_back_only_for_their_own_object() {
        let (keyring, kind) = (Keyring::parse(OLD).unwrap(), Registry::built_in().get("workload-definition").unwrap());
        let (id, spec) = (Uuid::now_v7(), json!({ "manifest": "m", "secret_data": { "a/b": "hunter2" } }));
        let sealed = stored(&keyring, id, &spec);
        assert!(!sealed.to_string().contains("hunter2"));
        let mut clear = sealed.clone();
        keyring.reveal(kind, id, &mut clear).unwrap();
        assert_eq!(clear, spec);
        assert!(keyring.reveal(kind, Uuid::now_v7(), &mut sealed.clone()).is_err());
    }

    #[test]
    fn an_unchanged_secret_keeps_its_ciphertext() {
        let (keyring, kind) = (Keyring::parse(OLD).unwrap(), Registry::built_in().get("workload-definition").unwrap());
        let (id, spec) = (Uuid::now_v7(), json!({ "secret_data": { "a": "one", "b": "two" } }));
        let sealed = stored(&keyring, id, &spec);
        let mut next = json!({ "secret_data": { "a": "one", "b": "three" } });
        keyring.conceal(kind, id, &mut next, Some((&spec, &sealed))).unwrap();
        assert_eq!(next["secret_data"]["a"], sealed["secret_data"]["a"]);
        assert_ne!(next["secret_data"]["b"], sealed["secret_data"]["b"]);
    }

    #[test]
    fn a_rotation_needs_the_old_key_once() {
        let kind = Registry::built_in().get("workload-definition").unwrap();
        let (id, spec) = (Uuid::now_v7(), json!({ "secret_data": { "a": "one" } }));
        let mut sealed = stored(&Keyring::parse(OLD).unwrap(), id, &spec);
        let both = Keyring::parse(&format!("{NEW}\n{OLD}\n")).unwrap();
        assert!(both.renew(kind, id, &mut sealed).unwrap());
        assert!(!both.renew(kind, id, &mut sealed).unwrap());
        Keyring::parse(NEW).unwrap().reveal(kind, id, &mut sealed).unwrap();
        assert_eq!(sealed, spec);
    }

    #[test]
    fn a_key_file_that_is_wrong_says_where() {
        let error = Keyring::parse("# keys\nold:c2hvcnQ=\n").unwrap_err();
        assert_eq!(error.to_string(), "encryption key file, key 1: expected 32 bytes");
    }
}
