//! Visits every reachable state, breadth first, so that the first loss found is one of the shortest.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use super::model::*;
use super::state::Next;

/// The result: the number of states, or the shortest way to a loss.
pub(super) enum Found {
    Nothing(usize),
    Loss { why: String, trace: String },
}

/// How a state was reached: from which state, by which process, and whether that process was killed.
pub(super) type Came = (u32, u8, bool);

pub(super) fn explore(scenario: &Scenario) -> Found {
    let mut numbers: HashMap<State, u32> = HashMap::new();
    let mut came: Vec<Came> = Vec::new();
    let mut waiting: VecDeque<State> = VecDeque::new();
    let start = scenario.start();
    numbers.insert(start.clone(), 0);
    came.push((0, 0, false));
    waiting.push_back(start);
    let mut from = 0;
    while let Some(state) = waiting.pop_front() {
        let loss = |came: &[Came], why: String, last: Option<(u8, bool)>| Found::Loss {
            trace: trace(scenario, came, from, last),
            why: format!("{}: {why}", scenario.name),
        };
        let mut can_go = false;
        let mut all_ended = true;
        let mut nexts = Vec::new();
        for (me, role) in (0..).zip(&scenario.roles) {
            match state.step(scenario, me, *role) {
                Next::To(next, _) => {
                    can_go = true;
                    nexts.push((next, me, false));
                }
                Next::Broken(why, _) => return loss(&came, why, Some((me, false))),
                Next::Blocked => all_ended = false,
                Next::Ended => {}
            }
            if let Some(next) = state.kill(me) {
                nexts.push((next, me, true));
            }
        }
        if !can_go && !all_ended {
            return loss(&came, "everybody waits for another".into(), None);
        }
        if !can_go && let Err(why) = last_gc(scenario, &state) {
            return loss(&came, why, None);
        }
        for (next, me, killed) in nexts {
            if let Entry::Vacant(place) = numbers.entry(next) {
                if let Err(why) = place.key().check(&scenario.roles) {
                    return loss(&came, why, Some((me, killed)));
                }
                waiting.push_back(place.key().clone());
                place.insert(u32::try_from(came.len()).unwrap());
                came.push((from, me, killed));
            }
        }
        from += 1;
    }
    Found::Nothing(came.len())
}

/// Runs one more collection, which evicts nothing, once every process has ended.
pub(super) fn last_gc(scenario: &Scenario, end: &State) -> Result<(), String> {
    let role = Role::Gc { evict: 0, rounds: 1, grace: false };
    let mut state = end.clone();
    state.processes[0] = Process { rounds: 1, ..IDLE };
    loop {
        match state.step(scenario, 0, role) {
            Next::To(next, _) => state = next,
            Next::Ended => return state.check_end(),
            Next::Blocked => return Err("the last gc waits for a lock that nobody holds".into()),
            Next::Broken(why, _) => return Err(why),
        }
        state.check(&scenario.roles[1..])?;
    }
}

pub(super) fn trace(scenario: &Scenario, came: &[Came], mut at: u32, last: Option<(u8, bool)>) -> String {
    let mut steps: Vec<(u8, bool)> = last.into_iter().collect();
    while at != 0 {
        let (before, me, killed) = came[at as usize];
        steps.push((me, killed));
        at = before;
    }
    let mut state = scenario.start();
    let mut text = String::new();
    for (number, (me, killed)) in steps.into_iter().rev().enumerate() {
        let role = scenario.roles[usize::from(me)];
        let (next, what) = match if killed { Next::Ended } else { state.step(scenario, me, role) } {
            Next::To(next, did) => (next, code(did, role)),
            Next::Broken(_, did) => (state.clone(), code(did, role)),
            _ => (state.kill(me).unwrap_or(state), "is killed"),
        };
        writeln!(text, "{:>3}. {} {what}", number + 1, name(role, me)).unwrap();
        state = next;
    }
    text
}

pub(super) fn name(role: Role, me: u8) -> String {
    let id = |id: u8| ["x", "y"][usize::from(id)];
    let content = |content: u8| ["A", "B", "the tree {A, B}", "the tree {A}"][usize::from(content)];
    match role {
        Role::Stage(of, what) => format!("stage {me} ({} = {})", id(of), content(what)),
        Role::FailedStage(of, what) => format!("stage {me}, which fails ({} = {})", id(of), content(what)),
        Role::Rebuild(of) => format!("doctor {me} ({})", id(of)),
        Role::Lease(of) => format!("lease {me} ({})", id(of)),
        Role::Remove(of) => format!("remove {me} ({})", id(of)),
        Role::Gc { .. } => format!("gc {me}"),
    }
}
