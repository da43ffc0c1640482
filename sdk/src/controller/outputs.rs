//! What a reconcile reports: gathered by its context, sent with Finish.

use std::time::Duration;

use serde_json::Value;
use threeport::json::to_struct;
use threeport::v1;

use super::{Error, Next};

/// Everything but the outcome.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    pub status: Option<Value>,
    pub conditions: Vec<v1::Condition>,
    pub events: Vec<v1::NewEvent>,
    pub children: Option<Vec<v1::Object>>,
    pub entries: Vec<v1::InventoryEntry>,
    pub removed: Vec<v1::ResourceReference>,
    pub runtime_id: String,
    pub pruned: bool,
}

impl Outputs {
    /// The item of a Finish; `is_deleting` tells which of the two functions answered.
    pub fn finish(
        self,
        lease: v1::Lease,
        wanted: i64,
        is_deleting: bool,
        result: Result<Next, Error>,
    ) -> v1::FinishItem {
        let mut item = v1::FinishItem {
            lease: Some(lease),
            wanted,
            status: self.status.map(to_struct),
            conditions: self.conditions,
            events: self.events,
            children: self.children.map(|objects| v1::ChildSet { objects }),
            entries: self.entries,
            removed: self.removed,
            runtime_id: self.runtime_id,
            pruned: self.pruned,
            ..Default::default()
        };
        if is_deleting || result.is_err() {
            // Nothing new may come to be under an owner that goes, and what an error cut short is no complete set.
            item.children = None;
        }
        match result {
            Ok(Next::Done) => {
                item.outcome = "done".into();
                item.cleaned_up = is_deleting;
            }
            Ok(Next::CheckIn(after)) => {
                item.outcome = "check_in".into();
                item.check_in = Some(wire(after));
            }
            Err(Error::Retry(error)) => {
                item.outcome = "retry".into();
                item.message = format!("{error:#}");
            }
            Err(Error::GiveUp { reason, message }) => give_up(&mut item, &reason, message),
        }
        item
    }
}

/// A reconcile that gave up says why in `Ready`, unless it said something there itself.
fn give_up(item: &mut v1::FinishItem, reason: &str, message: String) {
    item.outcome = "give_up".into();
    if !item.conditions.iter().any(|condition| condition.r#type == "Ready") {
        item.conditions.push(v1::Condition {
            r#type: "Ready".into(),
            status: "False".into(),
            reason: reason.into(),
            message: message.clone(),
            last_transition_at: None,
        });
    }
    item.message = message;
}

fn wire(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(is_deleting: bool, result: Result<Next, Error>) -> v1::FinishItem {
        let outputs = Outputs { children: Some(Vec::new()), ..Outputs::default() };
        outputs.finish(v1::Lease::default(), 7, is_deleting, result)
    }

    #[test]
    fn only_a_finished_cleanup_proves_absence() {
        assert!(finish(true, Ok(Next::Done)).cleaned_up);
        assert!(!finish(false, Ok(Next::Done)).cleaned_up);
        assert!(!finish(true, Ok(Next::CheckIn(Duration::from_secs(1)))).cleaned_up);
        assert!(!finish(true, Err(Error::give_up("Gone", "nothing"))).cleaned_up);
    }

    #[test]
    fn a_deleting_owner_gets_no_children() {
        assert!(finish(true, Ok(Next::Done)).children.is_none());
        assert!(finish(false, Ok(Next::Done)).children.is_some());
    }

    #[test]
    fn what_an_error_cut_short_declares_no_children() {
        assert!(finish(false, Ok(Next::CheckIn(Duration::ZERO))).children.is_some());
        assert!(finish(false, Err(anyhow::anyhow!("no answer").into())).children.is_none());
        assert!(finish(false, Err(Error::give_up("Invalid", "set `image`"))).children.is_none());
    }

    #[test]
    fn giving_up_says_why_in_ready() {
        let item = finish(false, Err(Error::give_up("ValuesInvalid", "set `replicas`")));
        assert_eq!((item.outcome.as_str(), item.message.as_str()), ("give_up", "set `replicas`"));
        assert_eq!(
            (item.conditions[0].r#type.as_str(), item.conditions[0].reason.as_str()),
            ("Ready", "ValuesInvalid")
        );
    }

    #[test]
    fn a_retry_carries_its_causes() {
        let error = anyhow::anyhow!("refused").context("applying Deployment `web`");
        assert_eq!(finish(false, Err(error.into())).message, "applying Deployment `web`: refused");
    }
}
