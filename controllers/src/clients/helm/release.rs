//! A revision of a release, as Helm has recorded it.

/// Each text with its length before it, for manifests hold every character that could part them.
pub const TEMPLATE: &str = "{{with .Release}}\
    {{len .Chart.Metadata.Version}}:{{.Chart.Metadata.Version}}\
    {{len .Chart.Metadata.AppVersion}}:{{.Chart.Metadata.AppVersion}}\
    {{len .Info.Description}}:{{.Info.Description}}\
    {{len .Manifest}}:{{.Manifest}}\
    {{range .Hooks}}{{len .Manifest}}:{{.Manifest}}{{end}}{{end}}";

/// A revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    pub chart_version: String,
    pub app_version: String,
    /// What became of it, in Helm's words.
    pub description: String,
    pub manifest: String,
    /// The manifests of hooks, which are no part of the other.
    pub hooks: Vec<String>,
}

impl Release {
    /// Reads what [`TEMPLATE`] makes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut texts = Vec::new();
        let mut rest = text.trim_end_matches('\n');
        while !rest.is_empty() {
            let (length, after) = rest.split_once(':')?;
            let length = length.parse::<usize>().ok()?;
            // The last newlines of the last text may have been taken for the end of the output.
            let end = length.min(after.len());
            texts.push(after.get(..end)?.to_owned());
            rest = after.get(end..)?;
        }
        let mut texts = texts.into_iter();
        let mut next = || texts.next();
        let (chart_version, app_version, description, manifest) = (next()?, next()?, next()?, next()?);
        Some(Self { chart_version, app_version, description, manifest, hooks: texts.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart_by_their_lengths() {
        let release = Release::parse("5:1.2.30:7:it: 3:x11:---\na: 1:2\n4:h:1\n").unwrap();
        assert_eq!((release.chart_version.as_str(), release.app_version.as_str()), ("1.2.3", ""));
        assert_eq!(release.description, "it: 3:x");
        assert_eq!(release.manifest, "---\na: 1:2\n");
        assert_eq!(release.hooks, ["h:1"], "the end of the output is no part of it");
        assert_eq!(Release::parse("nonsense"), None);
    }
}
