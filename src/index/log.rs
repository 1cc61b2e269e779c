//! The newest events of a shard, in its text: `"log":{"first":N,"head":"blake3:…","events":[…]}`.
//!
//! An event is in the same file as the record that it is about, so the two become durable together, by the same write
//! and the same sync: neither is ever there without the other. Older events are in [`segments`](super::segments).
//!
//! Nothing that is wrong here makes a shard unreadable: models matter more than their history.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::entry::LogEvent;
use crate::excerpt::excerpt;

/// The end of a shard's chain of events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// How many events there have been: the number of the last one.
    pub(super) count: u64,
    /// Whether older events were dropped rather than moved to a segment.
    pub(super) is_trimmed: bool,
    /// The hash of the last event; `None` if there has been none.
    pub(super) head: Option<String>,
    /// The last events, as they are written.
    pub(super) events: Vec<Box<RawValue>>,
    /// Members from a later version.
    extra: BTreeMap<String, Box<RawValue>>,
}

/// What a shard has under `log`.
#[derive(Clone, Debug, Default)]
pub(super) enum Logged {
    /// Nothing: the shard is new, or of an earlier version.
    #[default]
    Nothing,
    Log(Log),
    /// What cannot be read. It stays until the next event, which begins anew.
    Unreadable(Box<RawValue>),
}

impl Logged {
    pub(super) fn parse(text: &RawValue) -> Self {
        Log::parse(text).map_or_else(|| Logged::Unreadable(text.to_owned()), Logged::Log)
    }

    /// One event a line.
    pub(super) fn render(&self) -> Option<String> {
        match self {
            Logged::Nothing => None,
            Logged::Unreadable(text) => Some(text.get().to_owned()),
            Logged::Log(log) => {
                let events: Vec<&str> = log.events.iter().map(|event| event.get()).collect();
                let head = Value::from(log.head.clone());
                let trimmed = if log.is_trimmed { "\"trimmed\":true," } else { "" };
                let extra =
                    log.extra.iter().map(|(name, value)| format!("{}:{},", Value::from(name.as_str()), value.get()));
                let (first, events, extra) = (log.first(), events.join(",\n"), extra.collect::<String>());
                Some(format!("{{\"first\":{first},\"head\":{head},{trimmed}{extra}\"events\":[\n{events}\n]}}"))
            }
        }
    }
}

impl Log {
    fn parse(text: &RawValue) -> Option<Self> {
        fn read<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
            serde_json::from_str(value.get()).ok()
        }
        let mut members: BTreeMap<String, Box<RawValue>> = read(text)?;
        let first: NonZeroU64 = read(&members.remove("first")?)?;
        let head = read(&members.remove("head")?)?;
        let events: Vec<Box<RawValue>> = read(&members.remove("events")?)?;
        let is_trimmed = members.remove("trimmed").map_or(Some(false), |trimmed| read(&trimmed))?;
        let count = (first.get() - 1).saturating_add(events.len() as u64);
        Some(Log { count, is_trimmed, head, events, extra: members })
    }

    /// A chain that begins anew after so many events. The number and the link of its next event show that at least one
    /// is lost.
    pub(super) fn after_loss(count: u64) -> Self {
        Log { count: count.saturating_add(1), ..Log::default() }
    }

    /// The number of its first event here.
    pub(super) fn first(&self) -> u64 {
        self.count.saturating_sub(self.events.len() as u64).saturating_add(1)
    }

    pub(super) fn push(&mut self, mut event: LogEvent) -> serde_json::Result<()> {
        event.number = self.count.saturating_add(1);
        event.previous.clone_from(&self.head);
        let text = serde_json::value::to_raw_value(&event)?;
        (self.count, self.head) = (event.number, Some(hash(text.get())));
        self.events.push(text);
        Ok(())
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.events.iter().map(|event| event.get().len()).sum()
    }
}

pub(super) fn hash(text: &str) -> String {
    format!("blake3:{}", blake3::hash(text.as_bytes()).to_hex())
}

/// One chain of events: those of all ids of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// What can be read of it, oldest first.
    pub(crate) events: Vec<LogEvent>,
    /// The number of the oldest event that is kept; `None`: there is none.
    pub(crate) first: Option<u64>,
    /// How many events there have been.
    pub(crate) count: u64,
    /// The hash of the last event.
    pub(crate) head: Option<String>,
    /// What does not hold.
    pub(crate) problems: Vec<String>,
}

impl Chain {
    /// Follows the links of these lines, oldest first, and of those in the log. `first` is the number of the first one.
    pub(super) fn follow<'t>(log: &'t Log, first: u64, older: impl Iterator<Item = &'t str>) -> Self {
        let mut chain = Chain { count: log.count, head: log.head.clone(), ..Chain::default() };
        let mut last: Option<(u64, String)> = None;
        for text in older.chain(log.events.iter().map(|event| event.get())) {
            let event: LogEvent = match serde_json::from_str(text) {
                Ok(event) => event,
                Err(error) => {
                    chain.problems.push(excerpt(&format!(
                        "after event {}, one cannot be read: {error}",
                        last.as_ref().map_or(0, |(number, _)| *number)
                    )));
                    continue;
                }
            };
            let expected = last.as_ref().map(|(number, hash)| (number.saturating_add(1), Some(hash.as_str())));
            match expected {
                Some((number, _)) if number != event.number => {
                    chain
                        .problems
                        .push(format!("event {number} is missing: event {} comes in its place", event.number));
                }
                Some((_, hash)) if hash != event.previous.as_deref() => {
                    chain
                        .problems
                        .push(format!("the event before event {} is not the one that it was linked to", event.number));
                }
                None if event.number != first || (first == 1) != event.previous.is_none() => {
                    chain.problems.push(format!("the events before event {} are lost", event.number));
                }
                _ => {}
            }
            chain.first = chain.first.or(Some(event.number));
            last = Some((event.number, hash(text)));
            chain.events.push(event);
        }
        let end = last.unwrap_or_default();
        if (end.0, (end.0 > 0).then_some(end.1)) != (log.count, log.head.clone()) {
            chain.problems.push(format!("event {}, the last one, is missing or was changed", log.count));
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::LogEventKind;

    fn event(id: &str) -> LogEvent {
        LogEvent {
            at_ms: 1,
            digest: None,
            id: id.into(),
            note: None,
            number: 0,
            previous: None,
            size_bytes: None,
            source: None,
            version: "1".into(),
            what: LogEventKind::Staged,
        }
    }

    fn log(ids: &[&str]) -> Log {
        let mut log = Log::default();
        ids.iter().for_each(|id| log.push(event(id)).unwrap());
        log
    }

    fn log_of(logged: Logged) -> Log {
        match logged {
            Logged::Log(log) => log,
            other => panic!("{other:?}"),
        }
    }

    fn parse(text: &str) -> Logged {
        Logged::parse(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = Logged::Log(log(&["a", "b \"q\""])).render().unwrap();
        assert_eq!(parse(&text).render().unwrap(), text);
        let again = parse(&text);
        assert_eq!(Chain::follow(&log_of(again), 1, std::iter::empty()).problems, Vec::<String>::new());
        // Red when what a later version has written there is dropped.
        let later = text.replacen("\"events\"", "\"a \\\"later\\\" one\":{\"b\":[1e400]},\"events\"", 1);
        assert_ne!(later, text);
        assert_eq!(parse(&later).render().unwrap(), later);
        // Red when the head is not quoted as JSON: a change of any record would make the shard unreadable.
        let odd = parse(r#"{"first":1,"head":"\u0001'\"\u2028","events":[]}"#);
        assert_eq!(parse(&odd.render().unwrap()).render(), odd.render());
        for odd in
            ["null", "[]", "{}", r#"{"first":0,"head":null,"events":[1]}"#, r#"{"first":-1,"head":null,"events":[]}"#]
        {
            assert!(matches!(parse(odd), Logged::Unreadable(_)), "{odd}");
            assert_eq!(parse(odd).render().unwrap(), odd);
        }
    }

    // Red when a link, a number or the head is not compared.
    #[test]
    fn a_changed_missing_or_inserted_event_is_noticed() {
        let good = Logged::Log(log(&["a", "b", "c"])).render().unwrap();
        let lines: Vec<&str> = good.lines().collect();
        let problems = |text: &str| match parse(text) {
            Logged::Log(log) => Chain::follow(&log, log.first(), std::iter::empty()).problems,
            _ => vec!["unreadable".to_owned()],
        };
        assert_eq!(problems(&good), Vec::<String>::new());
        for (at, line) in lines.iter().enumerate().filter(|(at, _)| (1..=3).contains(at)) {
            let other = line.replace(r#""at_ms":1"#, r#""at_ms":2"#);
            assert_ne!(&other, line);
            let changed = lines.iter().enumerate().map(|(n, line)| if n == at { &other } else { *line });
            assert_ne!(problems(&changed.collect::<Vec<_>>().join("\n")), Vec::<String>::new(), "line {at} changed");
            let without: Vec<&str> =
                lines.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| *line).collect();
            let without = without.join("\n").replace("},\n]", "}\n]");
            assert_ne!(problems(&without), Vec::<String>::new(), "line {at} missing");
        }
        let twice = good.replacen(lines[2], &format!("{}\n{}", lines[2], lines[2]), 1);
        assert_ne!(problems(&twice), Vec::<String>::new());
        assert_ne!(problems(&good.replace(r#""first":1"#, r#""first":2"#)), Vec::<String>::new());
    }

    #[test]
    fn a_chain_goes_on_after_a_segment() {
        let all = log(&["a", "b", "c"]);
        let lines: Vec<&str> = all.events.iter().map(|event| event.get()).collect();
        let mut rest = Log { events: Vec::new(), ..all.clone() };
        assert_eq!(rest.first(), 4);
        rest.push(event("d")).unwrap();
        let chain = Chain::follow(&rest, 1, lines.iter().copied());
        assert_eq!((chain.problems.len(), chain.events.len(), chain.first), (0, 4, Some(1)));
        // The oldest may be gone.
        let chain = Chain::follow(&rest, 2, lines[1..].iter().copied());
        assert_eq!((chain.problems.len(), chain.events.len(), chain.first), (0, 3, Some(2)));
        // Not those in the middle.
        assert_eq!(Chain::follow(&rest, 1, lines[..2].iter().copied()).problems.len(), 1);
        // Red when a chain that begins anew looks whole.
        let mut anew = Log::after_loss(3);
        anew.push(event("d")).unwrap();
        assert_eq!(
            Chain::follow(&anew, 1, lines.iter().copied()).problems,
            ["event 4 is missing: event 5 comes in its place"]
        );
        assert_eq!(
            Chain::follow(&anew, anew.first(), std::iter::empty()).problems,
            ["the events before event 5 are lost"]
        );
    }
}
