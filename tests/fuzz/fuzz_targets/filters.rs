//! Filters of lists and watches: read or refused, however long and deep.

#![no_main]

use api_server::store::filter::Filter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Filter::parse(text);
    // The same text means the same.
    assert_eq!(read.is_ok(), Filter::parse(text).is_ok());
});
