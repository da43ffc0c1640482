//! Page tokens that nobody gave out: refused, or read as what they would have been made from.

#![no_main]

use api_server::store::page;
use libfuzzer_sys::fuzz_target;

const QUESTION: [&str; 2] = ["list", "fuzzed"];

fuzz_target!(|text: &str| {
    if let Ok(Some(last)) = page::after::<(i64, String)>(&QUESTION, text) {
        let token = page::token(&QUESTION, &last).expect("it was read a moment ago");
        assert_eq!(page::after(&QUESTION, &token).expect("we made it"), Some(last.clone()));
        assert!(page::after::<(i64, String)>(&["another", "question"], &token).is_err());
        if let Ok(time) = page::time(last.0) {
            assert_eq!(page::micros(time), last.0);
        }
    }
});
