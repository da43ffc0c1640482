//! The key and tokens of a test's system.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::random;

/// Writes the files that an API server is given, with a token of its own for the controller of widgets.
pub fn write(folder: &Path, user_token: &str) {
    let put = |file: &str, text: &str| std::fs::write(folder.join(file), text).expect("the folder is ours");
    let key = base64::prelude::BASE64_STANDARD.encode(&random().as_bytes()[..32]);
    put("encryption-key", &format!("test:{key}\n"));
    put("user-token", user_token);
    put("controller-token", &random());
    let widget_token = random();
    put("widget-token", &widget_token);
    let token = json!({
        "sha256": hexadecimal(digest(&SHA256, widget_token.as_bytes()).as_ref()),
        "identity": "widget",
        "role": "controller",
        "controllers": ["widget/widget"],
    });
    put("tokens.json", &json!([token]).to_string());
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("strings take all that is written");
        text
    })
}
