//! Keeps errors within what gRPC can carry: they travel in HTTP/2 headers, and clients refuse header lists over 16 KiB,
//! some over 8. REST gives the same answers, so the bounds are the same there.

use crate::json::Violation;

/// The longest message of an error, in bytes.
pub const MESSAGE: usize = 1_500;
/// All violations together; base64 makes them a third longer.
const VIOLATIONS: usize = 4_000;
/// One violation's description, which may repeat what the caller sent.
const DESCRIPTION: usize = 400;

/// The text, or its beginning and an ellipsis.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &text[..end])
}

/// The items, or as many as a message holds and how many more there are.
pub fn listed(items: &[String], separator: &str) -> String {
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let item = cut(item, DESCRIPTION);
        if text.len() + separator.len() + item.len() > MESSAGE - 100 {
            return format!("{text}{separator}and {} more", items.len() - index);
        }
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(&item);
    }
    text
}

/// The violations, or as many as fit and one that counts the rest.
pub fn violations(all: &[Violation]) -> Vec<Violation> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    for violation in all {
        let violation = Violation::new(cut(&violation.field, DESCRIPTION), cut(&violation.description, DESCRIPTION));
        bytes += violation.field.len() + violation.description.len() + 8;
        if bytes > VIOLATIONS {
            let rest = format!("{} more violations; mend these first", all.len() - kept.len());
            kept.push(Violation::new("", rest));
            break;
        }
        kept.push(violation);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_whole() {
        let all = [Violation::new("spec.image", "is required"), Violation::new("spec.port", "is not a port")];
        assert_eq!(violations(&all), all);
        assert_eq!(listed(&["a".into(), "b".into()], ", "), "a, b");
    }

    #[test]
    fn what_is_long_is_cut_and_counted() {
        let all =
            (0..500).map(|n| Violation::new(format!("objects[{n}].spec.image"), "ü".repeat(9_000))).collect::<Vec<_>>();
        let kept = violations(&all);
        let rest = &kept.last().unwrap().description;
        assert_eq!(*rest, format!("{} more violations; mend these first", 500 - (kept.len() - 1)));
        assert!(crate::json::invalid(&all).details().len() < 6_000);
        assert!(crate::json::invalid(&all).message().len() <= MESSAGE);
        let users = (0..400).map(|n| format!("workload-instance `web-{n}`")).collect::<Vec<_>>();
        assert!(listed(&users, ", ").ends_with(" more"));
        assert!(listed(&users, ", ").len() <= MESSAGE);
    }
}
