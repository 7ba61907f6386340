//! The options of a scope, as an admin writes them in JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::key::KeyType;
use super::stages::Approvers;
use crate::errors::{Outcome, Refusal, shown, shown_up_to};

/// What happens to sessions that use a grant when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum OnEnd {
    None,
    #[default]
    Cancel,
    Terminate,
}

impl OnEnd {
    pub fn named(name: &str) -> Option<Self> {
        [OnEnd::Cancel, OnEnd::Terminate, OnEnd::None].into_iter().find(|on_end| on_end.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            OnEnd::Cancel => "cancel",
            OnEnd::Terminate => "terminate",
            OnEnd::None => "none",
        }
    }
}

/// Every option with its default. Durations are kept as they were written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    pub description: Option<String>,
    pub key_type: Option<KeyType>,
    pub allow_all_rows: bool,
    pub approvers: Approvers,
    pub requesters: Option<Vec<String>>,
    /// None: an hour, or the maximum if that is less.
    pub default_duration: Option<String>,
    pub max_duration: String,
    /// Extensions included. None: no longer than the maximum of one request.
    pub max_total: Option<String>,
    /// How far ahead a start may lie.
    pub max_ahead: String,
    pub pending_ttl: String,
    pub reason_pattern: Option<String>,
    /// Of one person in the scope.
    pub max_pending: u32,
    /// Of one grantee in the scope, at a time.
    pub max_grants: u32,
    /// After a no, before the same is asked for again.
    pub denial_pause: String,
    /// Functions, by `schema.name`.
    pub auto_approve: Option<String>,
    pub validate: Option<String>,
    pub break_glass: Option<Vec<String>>,
    pub break_glass_max: String,
    pub review_within: String,
    pub break_glass_block_overdue: bool,
    pub on_end: OnEnd,
    pub enabled: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            description: None,
            key_type: None,
            allow_all_rows: false,
            approvers: Approvers::default(),
            requesters: None,
            default_duration: None,
            max_duration: "8 hours".into(),
            max_total: None,
            max_ahead: "30 days".into(),
            pending_ttl: "1 day".into(),
            reason_pattern: None,
            max_pending: 20,
            max_grants: 200,
            denial_pause: "1 minute".into(),
            auto_approve: None,
            validate: None,
            break_glass: None,
            break_glass_max: "1 hour".into(),
            review_within: "1 day".into(),
            break_glass_block_overdue: false,
            on_end: OnEnd::default(),
            enabled: true,
        }
    }
}

/// Of what `max_pending` and `max_grants` count.
const HIGHEST_LIMIT: u32 = 1_000_000;

/// Bytes; they go into every event that tells of them.
const LONGEST_TEXT: usize = 4_096;

impl Options {
    /// Reads JSON; an unknown option or a wrong type is refused with its path. An option that is
    /// null has its default.
    pub fn parse(given: Value) -> Outcome<Options> {
        let Value::Object(given) = given else {
            return Err(Refusal::bad_value("the options of a scope must be a JSON object")
                .hint(r#"Write, for example, '{"key_type": "int", "approvers": {"support_lead": 1}}'."#));
        };
        // An unknown name stays, to be refused with its path, null or not.
        let known = Options::default().to_map();
        let given: Map<String, Value> = given
            .into_iter()
            .filter(|(name, value)| !(value.is_null() && known.contains_key(name)))
            .collect();
        let options: Options = serde_path_to_error::deserialize(Value::Object(given)).map_err(|wrong| {
            let path = shown(&wrong.path().to_string());
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            Refusal::bad_value(format!("wrong option \"{path}\""))
                .detail(shown_up_to(400, &wrong.into_inner().to_string()))
                .hint(format!("Options are {}.", names.join(", ")))
        })?;
        options.check()?;
        Ok(options)
    }

    /// The options after `changes`; null sets one back to its default.
    pub fn changed(&self, changes: Value) -> Outcome<Options> {
        let Value::Object(changes) = changes else {
            return Err(Refusal::bad_value("the changes of a scope must be a JSON object")
                .hint(r#"Write, for example, '{"max_duration": "4 hours"}'."#));
        };
        let mut merged = self.to_map();
        merged.extend(changes);
        Options::parse(Value::Object(merged))
    }

    /// The options that differ, each with the old and the new value.
    pub fn difference(&self, new: &Options) -> Map<String, Value> {
        let old = self.to_map();
        new.to_map()
            .into_iter()
            .filter_map(|(name, value)| {
                let before = old.get(&name).cloned().unwrap_or(Value::Null);
                (before != value).then(|| (name, serde_json::json!({ "old": before, "new": value })))
            })
            .collect()
    }

    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }

    fn check(&self) -> Outcome<()> {
        self.approvers.check()?;
        if self.description.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT)
            || self.reason_pattern.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT)
        {
            return Err(Refusal::bad_value("a text in the options is too long")
                .hint(format!("description and reason_pattern have at most {LONGEST_TEXT} bytes.")));
        }
        for (option, number) in [("max_pending", self.max_pending), ("max_grants", self.max_grants)] {
            if !(1..=HIGHEST_LIMIT).contains(&number) {
                return Err(Refusal::bad_value(format!("wrong option \"{option}\""))
                    .detail(format!("{number} is no limit."))
                    .hint(format!("Write 1 to {HIGHEST_LIMIT}.")));
            }
        }
        if self.requesters.as_ref().is_some_and(Vec::is_empty) {
            return Err(Refusal::bad_value("wrong option \"requesters\"")
                .detail("An empty list would let nobody ask.")
                .hint("Name roles, or leave requesters out (null) to let anyone ask."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_the_documented_ones() {
        let options = Options::parse(json!({})).unwrap();
        assert_eq!(options, Options::default());
        assert_eq!(options.default_duration, None);
        assert_eq!(options.max_duration, "8 hours");
        assert_eq!(options.pending_ttl, "1 day");
        assert!(options.enabled && !options.allow_all_rows && options.approvers == Approvers::default());
    }

    #[test]
    fn wrong_options_are_named_with_their_path() {
        for (given, path) in [
            (json!({"approver": {}}), "approver"),
            (json!({"approvers": {"lead": "two"}}), "approvers.lead"),
            (json!({"approvers": {"lead": 0}}), "approvers.lead"),
            (json!({"approvers": {"lead": -1}}), "approvers.lead"),
            (json!({"approvers": [{"lead": 1}, {"lead": 0}]}), "approvers[1].lead"),
            (json!({"approvers": [{"lead": 1}, {"lead": "x"}]}), "approvers[1].lead"),
            (json!({"approvers": [{"lead": 1}, {}]}), "approvers[1]"),
            (json!({"approvers": "lead"}), "approvers"),
            (json!({"requesters": ["a", 1]}), "requesters[1]"),
            (json!({"requesters": []}), "requesters"),
            (json!({"max_pending": 0}), "max_pending"),
            (json!({"max_grants": 1_000_001}), "max_grants"),
            (json!({"max_grants": -1}), "max_grants"),
            (json!({"key_type": "float"}), "key_type"),
            (json!({"enabled": "yes"}), "enabled"),
        ] {
            let refusal = Options::parse(given.clone()).unwrap_err();
            assert_eq!(refusal.message(), format!("wrong option \"{path}\""), "{given}");
        }
        assert!(Options::parse(json!([])).is_err());
    }

    #[test]
    fn null_sets_an_option_back() {
        let options = Options::parse(json!({"description": "x", "max_duration": "2 hours"})).unwrap();
        let changed = options.changed(json!({"description": null, "max_duration": null})).unwrap();
        assert_eq!(changed, Options::default());
        assert!(options.changed(json!({"unheard_of": null})).is_err());
    }

    #[test]
    fn a_difference_has_old_and_new() {
        let options = Options::default();
        let changed = options.changed(json!({"enabled": false})).unwrap();
        assert_eq!(
            Value::Object(options.difference(&changed)),
            json!({"enabled": {"old": true, "new": false}})
        );
    }
}
