//! `list --filter`: conditions on models, such as `size>1GB` or `trust=warned`.

use std::cmp::Ordering;
use std::str::FromStr;
use std::time::Duration;

use catalog_core::{ArtifactKind, LifecycleState, Record, TrustState};

use crate::amount;
use crate::human::now_ms;

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    subject: Subject,
    operator: Operator,
}

#[derive(Clone, Debug)]
enum Subject {
    SizeBytes(u64),
    Files(u64),
    /// How long ago something was.
    Age(Event, Duration),
    State(LifecycleState),
    Trust(TrustState),
    Kind(ArtifactKind),
    Pinned(bool),
    Damaged(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Used,
    Created,
    Verified,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    Equal,
    Other,
    AtLeast,
    More,
}

/// Longer ones first, because `>=` begins with `>`.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("!=", Operator::Other),
    ("<", Operator::Less),
    (">", Operator::More),
    ("=", Operator::Equal),
];

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "write KEY, an operator (<, <=, =, !=, >=, >) and a value, such as 'size>1GB' or 'used>30d'";
        let at = text.find(['<', '>', '=', '!']).ok_or(HOW)?;
        let (key, rest) = text.split_at(at);
        let (value, operator) =
            OPERATORS.iter().find_map(|(sign, operator)| Some((rest.strip_prefix(sign)?, *operator))).ok_or(HOW)?;
        let (key, value) = (key.trim(), value.trim());
        let age = |event| amount::duration(value).map(|age| Subject::Age(event, age));
        let flag = || value.parse().map_err(|_| "write true or false");
        let subject = match key {
            "size" => Subject::SizeBytes(amount::size(value)?),
            "files" => Subject::Files(value.parse().map_err(|_| "write a whole number")?),
            "used" => age(Event::Used)?,
            "created" => age(Event::Created)?,
            "verified" => age(Event::Verified)?,
            "state" => Subject::State(value.parse().map_err(to_words)?),
            "trust" => Subject::Trust(value.parse().map_err(to_words)?),
            "kind" => Subject::Kind(value.parse().map_err(to_words)?),
            "pinned" => Subject::Pinned(flag()?),
            "damaged" => Subject::Damaged(flag()?),
            _ => {
                return Err(format!(
                    "{key:?} is no key; write size, files, used, created, verified, state, trust, kind, pinned or damaged"
                ));
            }
        };
        let has_order = matches!(subject, Subject::SizeBytes(_) | Subject::Files(_) | Subject::Age(..));
        match has_order || matches!(operator, Operator::Equal | Operator::Other) {
            true => Ok(Filter { subject, operator }),
            false => Err(format!("{key} has no order; write {key}= or {key}!=")),
        }
    }
}

fn to_words(error: impl ToString) -> String {
    error.to_string()
}

impl Filter {
    /// The filter `used>=AGE`.
    pub(crate) fn unused_for(age: Duration) -> Self {
        Filter { subject: Subject::Age(Event::Used, age), operator: Operator::AtLeast }
    }

    pub(crate) fn matches(&self, record: &Record) -> bool {
        let same = |is_same: bool| if is_same { Ordering::Equal } else { Ordering::Less };
        let order = match &self.subject {
            Subject::SizeBytes(bytes) => record.size_bytes.cmp(bytes),
            Subject::Files(files) => record.files.cmp(files),
            Subject::Age(event, age) => age_of(record, *event).cmp(age),
            Subject::State(state) => same(record.entry.lifecycle == *state),
            Subject::Trust(trust) => same(record.trust == *trust),
            Subject::Kind(kind) => same(record.kind == *kind),
            Subject::Pinned(flag) => {
                let now_ms = now_ms();
                same(record.pins.values().any(|pin| pin.holds_at(now_ms)) == *flag)
            }
            Subject::Damaged(flag) => same(record.damaged_ms.is_some() == *flag),
        };
        match self.operator {
            Operator::Less => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::Other => order.is_ne(),
            Operator::AtLeast => order.is_ge(),
            Operator::More => order.is_gt(),
        }
    }
}

/// A model that was never used counts as used when it was created; one that was never verified is older than any age.
fn age_of(record: &Record, event: Event) -> Duration {
    let at_ms = match event {
        Event::Used => record.last_used_ms.or(Some(record.created_ms)),
        Event::Created => Some(record.created_ms),
        Event::Verified => record.entry.last_verified_ms,
    };
    at_ms.map_or(Duration::MAX, |at_ms| Duration::from_millis(now_ms().saturating_sub(at_ms)))
}

#[cfg(test)]
mod tests {
    use catalog_core::testing;

    use super::*;

    #[test]
    fn each_key_and_operator() {
        let (_dir, catalog, _file) = testing::example();
        let record = &catalog.records().unwrap()[0];
        let size = record.size_bytes;
        for (text, is_match) in [
            (format!("size={size}"), true),
            (format!("size!={size}"), false),
            (format!("size>={size}"), true),
            (format!("size > {size}"), false),
            (format!("size<={size}"), true),
            ("size<1GB".into(), true),
            ("files=1".into(), true),
            ("used<1h".into(), true),
            ("used>1h".into(), false),
            ("created<1d".into(), true),
            ("verified>10w".into(), record.entry.last_verified_ms.is_none()),
            ("state=active".into(), true),
            ("state=retired".into(), false),
            ("trust!=verified".into(), true),
            ("kind=file".into(), true),
            ("pinned=false".into(), true),
            ("damaged=true".into(), false),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap().matches(record), is_match, "{text}");
        }
        assert!(!Filter::unused_for(Duration::from_secs(60)).matches(record));
        assert!(Filter::unused_for(Duration::ZERO).matches(record));
    }

    #[test]
    fn what_is_no_filter_is_told_what_is() {
        for bad in
            ["", "size", "size>", "size>lots", "colour=red", "state>active", "state=new", "used>30", "pinned=yes", "=1"]
        {
            let error = bad.parse::<Filter>().unwrap_err();
            assert!(error.contains("write "), "{bad}: {error}");
        }
    }
}
