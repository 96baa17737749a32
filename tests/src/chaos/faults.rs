//! Counts faults, and describes the first few of each kind in enough detail to look for the cause.

use super::receiver::Receiver;
use crate::load::sequence_tracker::Tally;
use serde::Serialize;
use std::collections::BTreeMap;

/// How many faults of each kind are described.
const DESCRIBED_MAX: usize = 4;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server ended a connection or session that should have continued.
    Dropped,
    /// A line that was due never arrived.
    Lost,
    /// A line arrived twice.
    Doubled,
    /// A line arrived after a later one of the same sender.
    Reordered,
    /// A line arrived in another order or with another id or time than at the other clients, or
    /// only at some of them.
    Differing,
    /// A client received bytes that it must not receive.
    Wrong,
}

/// The number of faults of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Connections or sessions that were ended.
    pub dropped: u64,
    /// Faulty lines, counted once per receiver.
    #[serde(flatten)]
    pub tally: Tally,
    /// Lines that other clients received differently.
    pub differing: u64,
}

/// The last kill of a process.
#[derive(Clone, Debug)]
pub struct LastKill {
    /// When, in ns.
    pub at: u64,
    /// The process and the kind of kill, in words.
    pub words: String,
}

/// All faults.
#[derive(Debug, Default)]
pub struct Faults {
    /// Over TCP.
    pub tcp: Count,
    /// Over UDP.
    pub udp: Count,
    /// The first faults of each kind, in words.
    pub described: Vec<String>,
    /// The current time, in ns.
    pub now: u64,
    /// The last kill by slot; `None` is the journal.
    pub kills: BTreeMap<Option<usize>, LastKill>,
    /// By client: the slot of the worker that serves it.
    pub slots: Vec<usize>,
    described_of: [usize; 6],
}

impl Count {
    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Dropped => &mut self.dropped,
            Kind::Lost => &mut self.tally.lost,
            Kind::Doubled => &mut self.tally.doubled,
            Kind::Reordered => &mut self.tally.reordered,
            Kind::Differing => &mut self.differing,
            Kind::Wrong => &mut self.tally.wrong,
        }
    }
}

impl Faults {
    /// Counts a fault. Describes it if it is one of the first of its kind, and not allowed over
    /// UDP.
    pub fn note(
        &mut self,
        receiver: &Receiver,
        client: usize,
        kind: Kind,
        why: impl FnOnce() -> String,
    ) {
        *if receiver.is_udp { &mut self.udp } else { &mut self.tcp }.of(kind) += 1;
        self.describe(receiver, client, kind, why);
    }

    /// Describes a possible fault without counting it. The caller counts it when it is certain.
    pub fn describe(
        &mut self,
        receiver: &Receiver,
        client: usize,
        kind: Kind,
        why: impl FnOnce() -> String,
    ) {
        let is_allowed = receiver.is_udp && matches!(kind, Kind::Lost | Kind::Doubled);
        if is_allowed || self.described_of[kind as usize] >= DESCRIBED_MAX {
            return;
        }
        self.described_of[kind as usize] += 1;
        let transport = if receiver.is_udp { "udp" } else { "tcp" };
        let visits = if receiver.is_visitor {
            format!(", visit {}", receiver.visits)
        } else {
            String::new()
        };
        let served =
            self.slots.get(client).map_or(String::new(), |slot| format!(", worker {slot}"));
        self.described.push(format!(
            "{kind:?} at {:.3} s: client {client} ({transport}, {}, room {}, {}{visits}{served}): \
             {}{}",
            self.now as f64 / 1e9,
            receiver.nick,
            receiver.room,
            receiver.settings,
            why(),
            self.after_which_kill(client),
        ));
    }

    /// Whether there are no faults, except those that UDP allows.
    pub fn is_clean(&self) -> bool {
        let udp = Count { tally: Tally { lost: 0, doubled: 0, ..self.udp.tally }, ..self.udp };
        self.tcp == Count::default() && udp == Count::default()
    }

    fn after_which_kill(&self, client: usize) -> String {
        let own = self.slots.get(client).and_then(|&slot| self.kills.get(&Some(slot)));
        let any = self.kills.values().max_by_key(|kill| kill.at);
        let word = |kill: &LastKill| {
            format!("{:.1} ms after {}", self.now.saturating_sub(kill.at) as f64 / 1e6, kill.words)
        };
        match (own, any) {
            (Some(own), Some(any)) if own.at != any.at => format!("; {}, {}", word(own), word(any)),
            (_, Some(any)) => format!("; {}", word(any)),
            _ => String::new(),
        }
    }
}
