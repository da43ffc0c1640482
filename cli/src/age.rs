//! How long ago something was, in few characters.

/// Seconds as `45s`, `12m`, `3h`, `5d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago a time was; `-` for none.
pub fn since(time: Option<&prost_types::Timestamp>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    let then = u64::try_from(time.seconds).unwrap_or_default();
    age(crate::local::state::now().saturating_sub(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ages = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(age);
        assert_eq!(ages, ["0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    }
}
