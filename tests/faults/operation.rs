//! What a client does next. Drawn from the seed, the client, the number of the operation and what the client's book holds.

use serde_json::{Value, json};

use crate::book::{Book, Document, Operation, Version};
use crate::random::Random;

const DEFINITION: &str = "workload-definition";
const INSTANCE: &str = "workload-instance";
const WORKLOAD: &str = "workload";
const ATTACHMENT: &str = "attachment";
const PROJECT: &str = "default";

/// A client with names of its own.
#[derive(Clone, Copy, Debug)]
pub struct Author {
    pub seed: u64,
    pub client: usize,
}

impl Author {
    /// The project that the client shares a definition from.
    pub fn team(self) -> String {
        format!("team-{}", self.client)
    }

    /// What exists before the run: the team, and its definition.
    pub fn first_documents(self) -> Vec<Document> {
        let team = Document::new("project", "", &self.team(), json!({}));
        vec![team, self.tool(false, &mut Random::new(self.seed, "tool"))]
    }

    /// The operation of this number. Its text is the operation's own: what was written can be told from all else.
    pub fn draw(self, number: usize, book: &Book) -> Operation {
        let random = &mut Random::new(self.seed, &format!("operation {}-{number}", self.client));
        let text = format!("text-{}-{}-{number}", self.seed, self.client);
        match random.below(100) {
            0..20 => Operation::Apply(vec![self.definition(random, &text)]),
            20..45 => self.instance(random, &text, book),
            45..55 => self.update(random, &text, book),
            55..67 => Operation::Apply(vec![self.workload(random, &text)]),
            67..77 => self.attachment(random, &text, book),
            77..92 => self.delete(random, book),
            _ => {
                let is_shared = book.present.values().any(|version| !version.shared_with.is_empty());
                Operation::Apply(vec![self.tool(!is_shared, random)])
            }
        }
    }

    fn name(self, letter: char, random: &mut Random, slots: u64) -> String {
        format!("{letter}-{}-{}", self.client, random.below(slots))
    }

    fn definition(self, random: &mut Random, text: &str) -> Document {
        Document::new(DEFINITION, PROJECT, &self.name('d', random, 2), definition_spec(random, text))
    }

    fn tool(self, is_shared: bool, random: &mut Random) -> Document {
        let spec = definition_spec(random, &format!("tool-{}", self.client));
        let mut tool = Document::new(DEFINITION, &self.team(), "tool", spec);
        tool.shared_with = if is_shared { vec![PROJECT.to_owned()] } else { Vec::new() };
        tool
    }

    /// An instance of a definition that is there, else with a definition in one transaction.
    fn instance(self, random: &mut Random, text: &str, book: &Book) -> Operation {
        let name = self.name('i', random, 3);
        let key = (INSTANCE.to_owned(), PROJECT.to_owned(), name.clone());
        let usable = |version: &&Version| version.key.1 == PROJECT || !version.shared_with.is_empty();
        let usable = book.of_kind(DEFINITION).into_iter().filter(usable).collect::<Vec<_>>();
        if usable.is_empty() {
            let definition = self.definition(random, text);
            let spec = json!({ "definition": definition.key.2, "values": { "greeting": text } });
            return Operation::Apply(vec![definition, Document::new(INSTANCE, PROJECT, &name, spec)]);
        }
        let chosen = *random.pick(&usable);
        // An instance stays with its definition.
        let named = match book.present.get(&key) {
            Some(known) => known.spec["definition"].clone(),
            None => json!(reference(chosen)),
        };
        let mut spec = json!({ "definition": named });
        if random.chance(60) {
            spec["values"] = json!({ "greeting": text });
        }
        if random.chance(30) {
            let resource = json!({ "kind": "Deployment", "name": "web" });
            let patch = json!({ "metadata": { "annotations": { "patched": text } } });
            spec["patches"] = json!([{ "resource": resource, "strategic_merge": patch }]);
        }
        let pinned = usable.iter().find(|version| json!(reference(version)) == spec["definition"]);
        if let Some(pinned) = pinned.filter(|_| random.chance(25)) {
            spec["definition_generation"] = json!(pinned.generation.to_string());
        }
        Operation::Apply(vec![Document::new(INSTANCE, PROJECT, &name, spec)])
    }

    /// Changes one value; one in five comes with a stale revision.
    fn update(self, random: &mut Random, text: &str, book: &Book) -> Operation {
        let known = book.of_kind(INSTANCE);
        if known.is_empty() {
            return Operation::Apply(vec![self.workload(random, text)]);
        }
        let known = *random.pick(&known);
        let mut document = Document::new(INSTANCE, PROJECT, &known.key.2, known.spec.clone());
        document.spec["values"]["greeting"] = json!(text);
        let revision = if random.chance(20) && known.revision > 1 { known.revision - 1 } else { known.revision };
        Operation::Update { document, mask: "spec.values.greeting".into(), revision }
    }

    fn workload(self, random: &mut Random, text: &str) -> Document {
        let instances =
            if random.chance(50) { json!([{ "name": "a" }]) } else { json!([{ "name": "a" }, { "name": "b" }]) };
        let spec = json!({
            "image": image(random), "port": 8080, "replicas": random.below(3), "env": { "TEXT": text },
            "instances": instances,
        });
        Document::new(WORKLOAD, PROJECT, &self.name('w', random, 2), spec)
    }

    fn attachment(self, random: &mut Random, text: &str, book: &Book) -> Operation {
        let known = book.of_kind(INSTANCE);
        if known.is_empty() {
            return Operation::Apply(vec![self.definition(random, text)]);
        }
        let name = self.name('a', random, 2);
        let key = (ATTACHMENT.to_owned(), PROJECT.to_owned(), name.clone());
        let target = match book.present.get(&key) {
            Some(attached) => attached.spec["workload_instance"].clone(),
            None => json!(random.pick(&known).key.2),
        };
        let map = config_map(&format!("from-{name}"), &[("text", text)]);
        // Two attachments that set the same variable don't fit together.
        let variable = name.to_uppercase().replace('-', "_");
        let spec = json!({ "workload_instance": target, "manifest": map, "env": { variable: text } });
        Operation::Apply(vec![Document::new(ATTACHMENT, PROJECT, &name, spec)])
    }

    fn delete(self, random: &mut Random, book: &Book) -> Operation {
        let own = book.present.keys().filter(|key| key.1 == PROJECT).collect::<Vec<_>>();
        if own.is_empty() {
            Operation::Apply(vec![self.workload(random, "again")])
        } else {
            Operation::Delete((*random.pick(&own)).clone())
        }
    }
}

/// How an instance in the default project names a definition.
fn reference(definition: &Version) -> String {
    let (_, project, name) = &definition.key;
    if project == PROJECT { name.clone() } else { format!("{project}/{name}") }
}

/// A config map, a service and a deployment; sometimes one thing more, so that there is something to prune.
fn definition_spec(random: &mut Random, text: &str) -> Value {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": random.below(3),
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": image(random) }] },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    });
    let mut manifest = vec![config_map("settings", &[("text", text), ("greeting", "none")])];
    manifest.extend([deployment.to_string(), service.to_string()]);
    if random.chance(50) {
        manifest.push(config_map("more", &[("text", text)]));
    }
    let target = json!({ "resource": { "kind": "ConfigMap", "name": "settings" }, "path": "data.greeting" });
    let greeting = json!({ "name": "greeting", "type": "string", "default": "hello", "targets": [target] });
    json!({ "manifest": manifest.join("\n---\n"), "inputs": [greeting] })
}

fn config_map(name: &str, data: &[(&str, &str)]) -> String {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>();
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data }).to_string()
}

fn image(random: &mut Random) -> String {
    format!("registry.example/web:{}", random.below(100))
}
