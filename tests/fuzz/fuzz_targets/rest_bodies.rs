//! Bodies and queries of REST requests, for every message that a method takes. The first line is the query, the first
//! byte of it chooses the method. What is accepted can be answered, and reads back as the same.

#![no_main]

use api_server::rest::transcode;
use libfuzzer_sys::fuzz_target;
use threeport::POOL;

fuzz_target!(|text: &str| {
    let (first, body) = text.split_once('\n').unwrap_or((text, ""));
    let mut query = first.chars();
    let Some(choice) = query.next() else { return };
    let inputs = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let inputs = inputs.map(|method| method.input()).collect::<Vec<_>>();
    let input = &inputs[choice as usize % inputs.len()];
    let read = |query: &str, body: &[u8]| transcode::request(input, &[], query, Some("*"), body);
    let _ = transcode::request(input, &[], query.as_str(), None, b"");
    if let Ok(message) = read("", body.as_bytes()) {
        let answer = transcode::answer(&message).expect("a message can be answered");
        let again = read("", &answer).unwrap_or_else(|status| panic!("{}: {status}", String::from_utf8_lossy(&answer)));
        assert_eq!(again, message, "{}", String::from_utf8_lossy(&answer));
    }
});
