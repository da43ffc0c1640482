//! Container images: what resources use, and replacing the tag or digest of a repository's.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pods;
use super::resource::Resource;

/// `ghcr.io/acme/web:v2@sha256:…`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// As written, with the registry if it names one.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

/// The image that a release gives to every container of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOverride {
    /// The repository, with or without Docker Hub's defaults.
    pub repository: String,
    pub tag: String,
    pub digest: String,
}

impl std::str::FromStr for Image {
    type Err = String;

    /// Source: <https://github.com/distribution/reference>
    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is no image; write it like `ghcr.io/acme/web:v2`");
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
            _ => (rest, None),
        };
        let is_tag = |tag: &str| {
            (1..=128).contains(&tag.len())
                && !tag.starts_with(['.', '-'])
                && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let is_digest = |digest: &str| {
            digest.split_once(':').is_some_and(|(algorithm, hex)| {
                !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        let is_valid =
            is_repository(repository) && tag.as_deref().is_none_or(is_tag) && digest.as_deref().is_none_or(is_digest);
        if is_valid { Ok(Self { repository: repository.to_owned(), tag, digest }) } else { Err(malformed()) }
    }
}

fn is_repository(repository: &str) -> bool {
    let (host, path) = match repository.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, repository),
    };
    let is_part = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let is_host_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte));
    repository.len() <= 255 && host.is_none_or(is_host_name) && path.split('/').all(is_part)
}

/// Whether the first part of a repository is a registry, as Docker tells them apart.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':'])
}

/// The repository with Docker Hub's defaults spelled out: `nginx` is `docker.io/library/nginx`.
fn canonical(repository: &str) -> String {
    match repository.split_once('/') {
        Some(("docker.io" | "index.docker.io", path)) if !path.contains('/') => format!("docker.io/library/{path}"),
        Some(("index.docker.io", path)) => format!("docker.io/{path}"),
        Some((host, _)) if is_host(host) => repository.to_owned(),
        Some(_) => format!("docker.io/{repository}"),
        None => format!("docker.io/library/{repository}"),
    }
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// The images that resources use, each once, in alphabetical order.
pub fn images(resources: &[Resource]) -> Vec<String> {
    let used = resources.iter().flat_map(pods::containers).filter_map(|container| container["image"].as_str());
    used.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Replaces tag and digest in every container whose image has an override's repository.
/// Returns the overrides that no container takes.
pub fn override_images<'a>(resources: &mut [Resource], overrides: &'a [ImageOverride]) -> Vec<&'a ImageOverride> {
    let mut unused = Vec::new();
    for image_override in overrides {
        let wanted = canonical(&image_override.repository);
        let mut is_used = false;
        for resource in resources.iter_mut() {
            pods::for_each_container(resource, |container| {
                let Some(Ok(mut image)) = container["image"].as_str().map(str::parse::<Image>) else { return };
                if canonical(&image.repository) == wanted {
                    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                    (image.tag, image.digest) = (given(&image_override.tag), given(&image_override.digest));
                    container["image"] = Value::from(image.to_string());
                    is_used = true;
                }
            });
        }
        if !is_used {
            unused.push(image_override);
        }
    }
    unused
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_are_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("nginx", "nginx", None, None),
            ("nginx:1.27", "nginx", Some("1.27"), None),
            ("localhost:5000/a/b", "localhost:5000/a/b", None, None),
            ("ghcr.io/acme/web:v2", "ghcr.io/acme/web", Some("v2"), None),
        ];
        for (text, repository, tag, digest) in cases {
            let image = text.parse::<Image>().unwrap();
            assert_eq!(
                (image.repository.as_str(), image.tag.as_deref(), image.digest.as_deref()),
                (repository, tag, digest)
            );
            assert_eq!(image.to_string(), text);
        }
        let image = format!("a/b:c@{digest}").parse::<Image>().unwrap();
        assert_eq!((image.tag.as_deref(), image.digest), (Some("c"), Some(digest)));
        for text in ["", "Nginx", "a b", "nginx:", "nginx:-x", "nginx@sha256:xyz", "/a", "a//b", "https://a/b"] {
            assert!(text.parse::<Image>().is_err(), "{text}");
        }
    }

    #[test]
    fn overrides_reach_every_container_of_their_repository() {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" }, "spec": {
            "initContainers": [{ "name": "i", "image": "docker.io/library/nginx:1" }],
            "containers": [{ "name": "a", "image": "nginx" }, { "name": "b", "image": "acme/nginx:3" }]
        } });
        let mut resources = [Resource::new(pod)];
        let of =
            |repository: &str| ImageOverride { repository: repository.into(), tag: "2".into(), digest: String::new() };
        let overrides = [of("nginx"), of("other")];
        assert_eq!(override_images(&mut resources, &overrides), [&overrides[1]]);
        assert_eq!(images(&resources), ["acme/nginx:3", "docker.io/library/nginx:2", "nginx:2"]);
    }
}
