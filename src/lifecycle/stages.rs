//! Who must say yes: stages, one after the other, each with slots for so many people of a role.

use std::collections::BTreeMap;
use std::fmt;

use pgrx::pg_sys::Oid;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::quorum;
use crate::errors::{Outcome, Refusal, shown};
use crate::identity;

/// What `approvers` may ask for at most: people of one role, and stages.
const MOST_PEOPLE: u32 = 100;
const MOST_STAGES: usize = 10;

/// The option `approvers`: an object, role to people, or an array of such objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Approvers(Vec<BTreeMap<String, u32>>);

impl Approvers {
    pub fn of(slots: &[Slot]) -> Self {
        let mut stages: BTreeMap<u32, BTreeMap<String, u32>> = BTreeMap::new();
        for slot in slots {
            stages.entry(slot.stage).or_default().insert(slot.role.clone(), slot.people);
        }
        Approvers(stages.into_values().collect())
    }

    /// Stage, role and people, with the option's path to it.
    pub fn slots(&self) -> impl Iterator<Item = (u32, &str, u32, String)> {
        let staged = self.0.len() > 1;
        self.0.iter().zip(1u32..).flat_map(move |(stage, number)| {
            stage
                .iter()
                .map(move |(role, people)| (number, role.as_str(), *people, path(staged, number, role)))
        })
    }

    pub fn check(&self) -> Outcome<()> {
        if self.0.len() > MOST_STAGES {
            return Err(Refusal::bad_value("wrong option \"approvers\"")
                .detail(format!("There are {} stages.", self.0.len()))
                .hint(format!("Write at most {MOST_STAGES}.")));
        }
        if let Some(at) = self.0.iter().position(BTreeMap::is_empty) {
            return Err(Refusal::bad_value(format!("wrong option \"approvers[{at}]\""))
                .detail("A stage without approvers would be met by nobody's yes.")
                .hint("Name roles in each stage, or leave the stage out."));
        }
        for (_, _, people, path) in self.slots() {
            if !(1..=MOST_PEOPLE).contains(&people) {
                return Err(Refusal::bad_value(format!("wrong option \"{}\"", shown(&path)))
                    .detail(format!("{people} people cannot be asked for."))
                    .hint(format!("Write how many people of the role must say yes, 1 to {MOST_PEOPLE}.")));
            }
        }
        Ok(())
    }
}

fn path(staged: bool, stage: u32, role: &str) -> String {
    if staged {
        format!("approvers[{}].{role}", stage.saturating_sub(1))
    } else {
        format!("approvers.{role}")
    }
}

impl Serialize for Approvers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => BTreeMap::<String, u32>::new().serialize(serializer),
            [stage] => stage.serialize(serializer),
            stages => stages.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Approvers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Stages;
        impl<'de> Visitor<'de> for Stages {
            type Value = Approvers;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object {\"role\": people} or an array of such objects, the stages")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Approvers, A::Error> {
                let stage = BTreeMap::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Approvers(if stage.is_empty() { Vec::new() } else { vec![stage] }))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, stages: A) -> Result<Approvers, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(stages)).map(Approvers)
            }
        }
        deserializer.deserialize_any(Stages)
    }
}

/// So many people of a role must say yes in a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// From 1.
    #[serde(default = "first_stage")]
    pub stage: u32,
    pub role: String,
    pub role_id: u32,
    pub people: u32,
}

fn first_stage() -> u32 {
    1
}

/// What a request must meet that was made under older rules: in each stage, for each role the greater number of
/// people. A role that approves nothing any more stays a slot that nobody fills.
pub fn stricter(now: &[Slot], then: &[Slot]) -> Vec<Slot> {
    let mut slots: BTreeMap<(u32, u32), Slot> =
        now.iter().map(|slot| ((slot.stage, slot.role_id), slot.clone())).collect();
    for slot in then {
        slots
            .entry((slot.stage, slot.role_id))
            .and_modify(|mine| mine.people = mine.people.max(slot.people))
            .or_insert_with(|| {
                let approves = now.iter().any(|mine| mine.role_id == slot.role_id);
                Slot { role_id: if approves { slot.role_id } else { 0 }, ..slot.clone() }
            });
    }
    slots.into_values().collect()
}

/// A yes that counts, and in which stage it was given.
pub struct Vote<'a> {
    pub stage: u32,
    /// Login and actor of the giver.
    pub person: &'a [Oid],
}

/// How far a request has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// The first that is not met, from 1; after the last: there is none.
    pub stage: u32,
    pub stages: u32,
    /// Slots of that stage.
    pub filled: usize,
    pub needed: usize,
}

impl Progress {
    pub fn is_complete(&self) -> bool {
        self.stages > 0 && self.stage > self.stages
    }

    /// As `jit_approve` says it.
    pub fn text(&self) -> String {
        let Progress { stage, stages, filled, needed } = self;
        if *stages > 1 {
            format!("pending: {filled} of {needed} in stage {stage} of {stages}")
        } else {
            format!("pending: {filled} of {needed}")
        }
    }
}

/// A stage is met when distinct people fill all its slots. Each of `votes` is another person's, and counts in its own
/// stage alone; `qualifies` says whether a role is one that somebody belongs to.
pub fn progress(slots: &[Slot], votes: &[Vote<'_>], qualifies: impl Fn(Oid, Oid) -> bool) -> Progress {
    let stages = slots.iter().map(|slot| slot.stage).max().unwrap_or(0);
    for stage in 1..=stages {
        let roles: Vec<Oid> = slots
            .iter()
            .filter(|slot| slot.stage == stage)
            .flat_map(|slot| std::iter::repeat_n(Oid::from_u32(slot.role_id), slot.people as usize))
            .collect();
        let able: Vec<Vec<usize>> = votes
            .iter()
            .filter(|vote| vote.stage == stage && !vote.person.is_empty())
            .map(|vote| {
                let fills = |role: Oid| {
                    role != Oid::INVALID && vote.person.iter().all(|member| qualifies(*member, role))
                };
                (0..roles.len()).filter(|slot| roles.get(*slot).copied().is_some_and(fills)).collect()
            })
            .collect();
        let filled = quorum::filled(roles.len(), &able);
        if filled < roles.len() {
            return Progress { stage, stages, filled, needed: roles.len() };
        }
    }
    Progress { stage: stages + 1, stages, filled: 0, needed: 0 }
}

/// The same for people as they are today.
pub fn progress_today(slots: &[Slot], votes: &[Vote<'_>]) -> Progress {
    progress(slots, votes, identity::qualifies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn slot(stage: u32, role_id: u32, people: u32) -> Slot {
        Slot { stage, role: format!("r{role_id}"), role_id, people }
    }

    fn written(json: serde_json::Value) -> Approvers {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn one_stage_is_written_as_an_object_and_several_as_an_array() {
        for json in [json!({}), json!({"a": 1, "b": 2}), json!([{"a": 1}, {"b": 2}])] {
            assert_eq!(serde_json::to_value(written(json.clone())).unwrap(), json);
        }
        assert_eq!(written(json!([])), written(json!({})));
        assert_eq!(written(json!([{"a": 1}])), written(json!({"a": 1})));
        assert!(serde_json::from_value::<Approvers>(json!("a")).is_err());
        assert!(written(json!([{"a": 1}, {}])).check().is_err());
        assert!(written(json!([{"a": 1}, {"b": 101}])).check().is_err());
        assert!(written(json!(vec![json!({"a": 1}); 11])).check().is_err());
    }

    #[test]
    fn slots_and_options_are_the_same_thing() {
        let approvers = written(json!([{"a": 1, "b": 2}, {"a": 3}]));
        let slots: Vec<Slot> = approvers
            .slots()
            .map(|(stage, role, people, _)| Slot { stage, role: role.into(), role_id: 7, people })
            .collect();
        assert_eq!(Approvers::of(&slots), approvers);
    }

    #[test]
    fn rules_made_laxer_stay_as_strict_for_older_requests() {
        assert_eq!(stricter(&[slot(1, 1, 1)], &[slot(1, 1, 2)]), [slot(1, 1, 2)]);
        assert_eq!(stricter(&[slot(1, 1, 3)], &[slot(1, 1, 2)]), [slot(1, 1, 3)]);
        // A stage that is gone today is still to be met, and one that is new as well.
        assert_eq!(
            stricter(&[slot(1, 1, 1)], &[slot(1, 1, 1), slot(2, 1, 1)]),
            [slot(1, 1, 1), slot(2, 1, 1)]
        );
        assert_eq!(
            stricter(&[slot(1, 1, 1), slot(2, 1, 1)], &[slot(1, 1, 1)]),
            [slot(1, 1, 1), slot(2, 1, 1)]
        );
    }

    #[test]
    fn a_role_that_approves_no_more_is_a_slot_nobody_fills() {
        let slots = stricter(&[slot(1, 2, 1)], &[slot(1, 1, 1)]);
        assert_eq!(slots.iter().find(|slot| slot.role == "r1").map(|slot| slot.role_id), Some(0));
    }

    /// Role r is that of the people r0 to r9.
    fn belongs(member: Oid, role: Oid) -> bool {
        member.to_u32() / 10 == role.to_u32()
    }

    fn votes<'a>(given: &'a [(u32, [Oid; 1])]) -> Vec<Vote<'a>> {
        given.iter().map(|(stage, person)| Vote { stage: *stage, person }).collect()
    }

    #[test]
    fn stages_are_met_one_after_the_other() {
        let rules = [slot(1, 1, 1), slot(2, 2, 2)];
        let person = |id: u32| [Oid::from_u32(id)];
        let state = |given: &[(u32, [Oid; 1])]| progress(&rules, &votes(given), belongs);
        assert_eq!(state(&[]).text(), "pending: 0 of 1 in stage 1 of 2");
        // A yes counts in its own stage alone.
        assert_eq!(state(&[(2, person(11))]).stage, 1);
        assert_eq!(state(&[(1, person(11))]).text(), "pending: 0 of 2 in stage 2 of 2");
        assert_eq!(state(&[(1, person(11)), (2, person(21))]).text(), "pending: 1 of 2 in stage 2 of 2");
        assert!(state(&[(1, person(11)), (2, person(21)), (2, person(22))]).is_complete());
        // When the first one's giver has lost the role, the request goes back.
        assert_eq!(state(&[(1, person(91)), (2, person(21)), (2, person(22))]).stage, 1);
        assert!(!progress(&[], &[], belongs).is_complete());
        assert!(!progress(&[slot(1, 0, 1)], &votes(&[(1, person(1))]), belongs).is_complete());
    }

    proptest! {
        #[test]
        fn stricter_rules_ask_for_at_least_as_much(
            now in prop::collection::btree_map((1u32..3, 1u32..5), 1u32..4, 0..4),
            then in prop::collection::btree_map((1u32..3, 1u32..5), 1u32..4, 0..4),
            given in prop::collection::btree_set((1u32..3, 10u32..50), 0..8),
        ) {
            let list = |m: &BTreeMap<(u32, u32), u32>| -> Vec<Slot> {
                m.iter().map(|((stage, role), people)| slot(*stage, *role, *people)).collect()
            };
            let (now, then) = (list(&now), list(&then));
            let given: Vec<_> = given.iter().map(|(stage, id)| (*stage, [Oid::from_u32(*id)])).collect();
            let both = stricter(&now, &then);
            if progress(&both, &votes(&given), belongs).is_complete() {
                prop_assert!(now.is_empty() || progress(&now, &votes(&given), belongs).is_complete());
                prop_assert!(then.is_empty() || progress(&then, &votes(&given), belongs).is_complete());
            }
        }
    }
}
