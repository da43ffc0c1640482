//! YAML as users write it: documents and manifests. Whatever is accepted can be written, and reads back as the same.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use threeport::registry::Registry;
use threeport::render::{parse_manifest, to_yaml};
use threeport_sdk::document::{self, Reader};

fuzz_target!(|text: &str| {
    let reader = Reader::new(Registry::built_in(), "default");
    // A folder that isn't there: no document may read a file of this machine.
    if let Ok(documents) = reader.read_text("fuzzed.yaml", text, Path::new("/nonexistent")) {
        let objects = documents.into_iter().map(|document| document.object).collect::<Vec<_>>();
        let written = document::to_yaml(&objects).expect("what was read can be written");
        let again = reader.read_text("written.yaml", &written, Path::new("/nonexistent"));
        let again = again.unwrap_or_else(|error| panic!("{written}\ncan't be read: {error}"));
        let again = again.into_iter().map(|document| document.object).collect::<Vec<_>>();
        assert_eq!(again, objects, "{written}");
    }
    if let Ok(resources) = parse_manifest(text) {
        let written = to_yaml(&resources);
        let again = parse_manifest(&written).unwrap_or_else(|wrong| panic!("{written}\ncan't be read: {wrong:?}"));
        let values = |resources: Vec<threeport::render::Resource>| {
            resources.into_iter().map(|resource| resource.value).collect::<Vec<_>>()
        };
        assert_eq!(values(again), values(resources), "{written}");
    }
});
