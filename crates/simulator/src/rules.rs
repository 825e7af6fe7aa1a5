//! Selects the fault of the next response for a target, by ordered rules.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// Maximum number of rules. A new one replaces the oldest.
const MAX_RULES: usize = 10_000;

/// A fault, its customer and its number of responses. The first matching rule applies, so a
/// permanent one hides later rules for the same customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The requested customer id; any if absent.
    #[serde(default)]
    pub customer: Option<String>,
    /// Number of responses; unlimited if absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// The fault.
    pub fault: Fault,
}

impl FaultRule {
    /// `fault` for every response.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self { customer: None, times: None, fault }
    }

    /// `fault` for the next response.
    #[must_use]
    pub fn once(fault: Fault) -> Self {
        Self { times: Some(1), ..Self::always(fault) }
    }

    /// Restricts the rule to one customer.
    #[must_use]
    pub fn of(self, customer: &str) -> Self {
        Self { customer: Some(customer.to_owned()), ..self }
    }

    /// Limits the rule to this many responses.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct FaultRules(Mutex<VecDeque<FaultRule>>);

impl FaultRules {
    /// Appends a rule.
    pub(super) fn add(&self, rule: FaultRule) {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rules.len() >= MAX_RULES {
            rules.pop_front();
        }
        rules.push_back(rule);
    }

    /// The rules that still apply to responses.
    pub(super) fn all(&self) -> Vec<FaultRule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Removes all rules.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault of the next response for `target`; decrements its rule.
    pub(super) fn take(&self, target: Option<&str>) -> Option<Fault> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let matches =
            |rule: &FaultRule| rule.customer.is_none() || rule.customer.as_deref() == target;
        rules.retain(|rule| rule.times != Some(0));
        let rule = rules.iter_mut().find(|rule| matches(rule))?;
        rule.times = rule.times.map(|times| times.saturating_sub(1));
        let fault = rule.fault.clone();
        rules.retain(|rule| rule.times != Some(0));
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_rule_applies_until_used_up() {
        let rules = FaultRules::default();
        rules.add(FaultRule::once(Fault::Hang).of("alice"));
        rules.add(FaultRule::always(Fault::Reset).times(2));
        rules.add(FaultRule::always(Fault::Empty));
        assert_eq!(rules.take(Some("bob")), Some(Fault::Reset));
        assert_eq!(rules.take(Some("alice")), Some(Fault::Hang));
        assert_eq!(rules.take(Some("alice")), Some(Fault::Reset));
        assert_eq!(rules.all(), [FaultRule::always(Fault::Empty)]);
        assert_eq!(rules.take(None), Some(Fault::Empty));
        rules.clear();
        assert_eq!(rules.take(Some("alice")), None);
    }

    #[test]
    fn rule_for_zero_responses_is_ignored() {
        let rules = FaultRules::default();
        rules.add(FaultRule::always(Fault::Hang).times(0));
        assert_eq!(rules.take(None), None);
    }

    #[test]
    fn number_of_rules_is_limited() {
        let rules = FaultRules::default();
        rules.add(FaultRule::once(Fault::Reset));
        for _ in 0..MAX_RULES {
            rules.add(FaultRule::once(Fault::Hang));
        }
        assert_eq!(rules.all().len(), MAX_RULES);
        assert_eq!(rules.take(None), Some(Fault::Hang), "the oldest is gone");
    }

    #[test]
    fn rules_round_trip_as_json() {
        let read = |json: &str| serde_json::from_str::<FaultRule>(json);
        assert_eq!(read(r#"{"fault": "hang"}"#).unwrap(), FaultRule::always(Fault::Hang));
        assert_eq!(
            read(r#"{"customer": "alice", "times": 2, "fault": {"latency": {"ms": 200}}}"#)
                .unwrap(),
            FaultRule::always(Fault::Latency { ms: 200 }).of("alice").times(2)
        );
        let error = read(r#"{"fault": "hangs"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown variant `hangs`"), "{error}");
        assert!(read(r#"{"fault": "hang", "time": 1}"#).is_err());
    }
}
