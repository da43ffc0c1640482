//! Documents that were parsed lately: a manifest is read several times while it is written, and whenever it is rendered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value;

use super::yaml::{self, Mistake};

/// Bytes of text that are remembered; parsed, they take several times as much.
const MAX_BYTES: usize = 1 << 20;

static PARSED: LazyLock<Mutex<Parsed>> = LazyLock::new(Mutex::default);

/// Texts with what they say, the oldest first in line to be forgotten.
#[derive(Default)]
struct Parsed {
    values: HashMap<Arc<str>, Arc<Value>>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

/// As [`yaml::read`]. What may hold a secret is not remembered.
pub fn read(text: &str) -> Result<Option<Value>, Mistake> {
    if text.contains("Secret") {
        return yaml::read(text);
    }
    let known = PARSED.lock().unwrap_or_else(PoisonError::into_inner).values.get(text).cloned();
    if let Some(known) = known {
        return Ok(Some(Value::clone(&known)));
    }
    let read = yaml::read(text)?;
    if let Some(value) = &read {
        PARSED.lock().unwrap_or_else(PoisonError::into_inner).remember(text, value);
    }
    Ok(read)
}

impl Parsed {
    fn remember(&mut self, text: &str, value: &Value) {
        let text: Arc<str> = text.into();
        if text.len() > MAX_BYTES || self.values.insert(text.clone(), Arc::new(value.clone())).is_some() {
            return;
        }
        self.bytes += text.len();
        self.order.push_back(text);
        while self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= oldest.len();
            self.values.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_says_the_same_again() {
        for _ in 0..2 {
            assert_eq!(read("{a: [1, yes]}").unwrap(), Some(json!({ "a": [1, "yes"] })));
            assert_eq!(read("# nothing").unwrap(), None);
            assert_eq!(read("a: b: c").unwrap_err().line, 1);
        }
        assert!(PARSED.lock().unwrap().values.contains_key("{a: [1, yes]}"));
    }

    #[test]
    fn what_may_hold_a_secret_is_not_remembered() {
        let text = "{apiVersion: v1, kind: Secret, stringData: {password: hunter2}}";
        assert!(read(text).unwrap().is_some());
        assert!(!PARSED.lock().unwrap().values.contains_key(text));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut parsed = Parsed::default();
        let texts = (0..100).map(|number| format!("{number}{}", " ".repeat(MAX_BYTES / 10))).collect::<Vec<_>>();
        for text in &texts {
            parsed.remember(text, &json!(1));
            parsed.remember(text, &json!(1));
        }
        assert_eq!((parsed.values.len(), parsed.order.len()), (9, 9));
        assert!(parsed.bytes <= MAX_BYTES && parsed.values.contains_key(texts[99].as_str()));
    }
}
