//! Turns `proto/` into Rust and into the descriptor set that REST, reflection, `explain` and tests read.

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

const API: &str = "proto/threeport/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/threeport");
    println!("cargo::rerun-if-changed=proto/google");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    let mut files = fs::read_dir(API)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    for file in files {
        compiler.open_file(file)?;
    }

    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    let pool = compiler.descriptor_pool();
    let secretive = messages_with_secrets(&pool);
    prost.skip_debug(secretive.iter().map(MessageDescriptor::full_name));
    fs::write(out_dir.join("debug.rs"), debug_impls(&secretive)?)?;

    tonic_prost_build::configure()
        .codec_path("crate::codec::StrictCodec")
        .compile_fds_with_config(compiler.file_descriptor_set(), prost)?;
    Ok(())
}

/// Messages of ours whose `Debug` would print a secret: prost ignores `debug_redact`.
fn messages_with_secrets(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    pool.all_messages()
        .filter(|message| message.package_name() == "threeport.v1" && !message.is_map_entry())
        .filter(|message| message.fields().any(|field| is_secret(&field)))
        .collect()
}

/// Marked `debug_redact`, or an erased object's part, which may hold such a field.
fn is_secret(field: &FieldDescriptor) -> bool {
    let redacted = field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false);
    let erased = matches!(field.kind(), Kind::Message(message) if message.full_name() == "google.protobuf.Struct");
    redacted || erased
}

fn debug_impls(messages: &[MessageDescriptor]) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    for message in messages {
        let name = message.name();
        writeln!(code, "impl std::fmt::Debug for {name} {{")?;
        writeln!(code, "    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{")?;
        writeln!(code, "        f.debug_struct({name:?})")?;
        for field in message.fields() {
            let raw = field.name();
            if is_secret(&field) {
                writeln!(code, "            .field({raw:?}, &\"(sensitive)\")")?;
            } else {
                writeln!(code, "            .field({raw:?}, &self.r#{raw})")?;
            }
        }
        writeln!(code, "            .finish()\n    }}\n}}")?;
    }
    Ok(code)
}
