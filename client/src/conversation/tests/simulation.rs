//! A conversation and a model of the server, with broken connections and lost datagrams at random.

use super::super::*;
use super::server::Server;
use std::collections::BTreeMap;

/// A conversation, a server, and the network between them.
pub struct Simulation {
    pub conversation: Conversation,
    pub server: Server,
    pub number: Option<usize>,
    pub now: Instant,
    pub random: fastrand::Rng,
    pub entries: Vec<Entry>,
    pub outcome: Option<Outcome>,
    /// One in so many datagrams is lost; 0 loses none.
    pub loss: usize,
}

impl Simulation {
    pub fn new(seed: u64, config: Config, server: Server, loss: usize) -> Simulation {
        let now = Instant::now();
        let conversation = Conversation::new(config, now);
        let mut sim = Simulation {
            conversation,
            server,
            number: None,
            now,
            random: fastrand::Rng::with_seed(seed),
            entries: Vec::new(),
            outcome: None,
            loss,
        };
        sim.process_outputs();
        sim
    }

    /// Lets time pass until the client has a connection.
    pub fn wait_for_connection(&mut self) {
        while self.number.is_none() {
            self.step_old_connections();
            self.advance(100);
        }
    }

    pub fn is_lost(&mut self) -> bool {
        self.loss > 0 && self.random.usize(..self.loss) == 0
    }

    /// Does what the conversation asks for.
    pub fn process_outputs(&mut self) {
        while let Some(output) = self.conversation.poll() {
            match output {
                Output::Connect => {
                    self.number = Some(self.server.connect());
                    self.conversation.handle_connected(self.now);
                }
                Output::Send(bytes) => {
                    let line = String::from_utf8(bytes).unwrap().trim_end_matches('\n').to_owned();
                    if let Some(number) = self.number.filter(|_| !self.is_lost()) {
                        self.server.connections[number].to_server.push_back(line);
                    }
                }
                Output::Show(entry) => self.entries.push(*entry),
                Output::Close => {
                    if self.number.take().is_some() {
                        self.conversation.handle_disconnected("closed", self.now, 0.5);
                    }
                }
                Output::End(outcome) => self.outcome = Some(outcome),
            }
        }
    }

    pub fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        if self.conversation.next_timeout().is_some_and(|at| at <= self.now) {
            self.conversation.handle_timeout(self.now);
        }
        self.process_outputs();
    }

    pub fn server_reads(&mut self) -> bool {
        self.number.is_some_and(|number| self.server.read(number))
    }

    pub fn deliver(&mut self) -> bool {
        let Some(line) =
            self.number.and_then(|number| self.server.connections[number].to_client.pop_front())
        else {
            return false;
        };
        if !self.is_lost() {
            self.conversation.handle_line(line.as_bytes(), self.now);
        }
        self.process_outputs();
        true
    }

    pub fn types(&mut self, text: &str) {
        self.conversation.handle_typed(text, self.now);
        self.process_outputs();
    }

    /// Breaks the connection. The server may still read what it has not read. What it has sent and
    /// the client has not received is lost.
    pub fn disconnect(&mut self) {
        if self.number.take().is_some() {
            self.conversation.handle_disconnected("cut", self.now, self.random.f64());
            self.process_outputs();
        }
    }

    /// One step of a connection that the client no longer uses. The server reads a line of it, or
    /// ends it if there is none.
    pub fn step_old_connections(&mut self) {
        let old: Vec<usize> = (0..self.server.connections.len())
            .filter(|&number| {
                Some(number) != self.number && self.server.connections[number].is_open
            })
            .collect();
        if let Some(&number) = old.get(self.random.usize(..old.len().max(1)))
            && !self.server.read(number)
        {
            self.server.connections[number].is_open = false;
        }
    }

    /// Lets time pass until nothing happens any more. Nothing is lost meanwhile.
    pub fn run_until_idle(&mut self) {
        self.loss = 0;
        for _ in 0..600 {
            while self.server_reads() || self.deliver() {}
            (0..20).for_each(|_| self.step_old_connections());
            self.advance(500);
        }
    }

    /// What was shown of a user.
    pub fn received_from(&self, nick: &str) -> Vec<&Received> {
        let received = self.entries.iter().filter_map(|shown| {
            if let Entry::Received(received) = shown { Some(received) } else { None }
        });
        received.filter(|received| received.nick.as_deref() == Some(nick)).collect()
    }

    pub fn notices(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter_map(
                |shown| if let Entry::Notice(text) = shown { Some(text.as_str()) } else { None },
            )
            .collect()
    }

    /// Whether a line of the user was shown in this state.
    pub fn is_own_shown(&self, text: &str, state: DeliveryState) -> bool {
        let is_it = |entry: &Entry| {
            matches!(entry, Entry::Own { text: shown, state: other, .. }
                if shown == text && *other == state)
        };
        self.entries.iter().any(is_it)
    }

    /// How often each text was said, shown as accepted, and shown as in doubt or not sent.
    pub fn fates(&self, texts: &[String]) -> BTreeMap<String, (usize, usize, usize)> {
        let said =
            |text: &String| self.server.log.iter().filter(|(_, _, said, _)| said == text).count();
        let accepted = |text: &String| {
            self.entries
                .iter()
                .filter(|entry| {
                    matches!(entry, Entry::Received(received)
                        if received.is_own && received.text == *text)
                })
                .count()
        };
        let doubted = |text: &String| {
            let is_doubt = |entry: &&Entry| {
                matches!(entry, Entry::Own { text: shown, state, .. }
                    if *state != DeliveryState::Waiting && shown.trim_start_matches("/me ") == text)
            };
            self.entries.iter().filter(is_doubt).count()
        };
        texts
            .iter()
            .map(|text| (text.clone(), (said(text), accepted(text), doubted(text))))
            .collect()
    }
}

pub fn config(interactive: bool, udp: bool) -> Config {
    Config {
        nick: Some("me".to_owned()),
        rooms: vec!["#rust".to_owned()],
        charset: Charset::default(),
        udp,
        interactive,
        commands: true,
    }
}

/// Types, delivers, disconnects and waits at random. Returns the idle simulation and what was
/// typed.
pub fn run(seed: u64, has_history: bool, is_udp: bool) -> (Simulation, Vec<String>) {
    let loss = if is_udp { 4 + usize::try_from(seed % 8).unwrap() } else { 0 };
    let mut sim =
        Simulation::new(seed, config(true, is_udp), Server::new(has_history, is_udp), loss);
    let mut texts = Vec::new();
    for _ in 0..400 {
        match sim.random.usize(..100) {
            0..15 => {
                let text = format!("line {}", texts.len());
                let is_said = sim.random.bool();
                sim.types(&if is_said { text.clone() } else { format!("/me {text}") });
                texts.push(text);
            }
            15..17 => {
                let which = sim.random.usize(..7);
                sim.types(
                    [
                        "/join #rust",
                        "/join #c",
                        "/who",
                        "/dance",
                        "/nick other",
                        "/nick me",
                        "/leave #c",
                    ][which],
                );
            }
            17..20 => sim.disconnect(),
            20..25 if sim.conversation.login.was_done() => {
                let text = format!("other {}", sim.server.log.len());
                sim.server.bob_says("#rust", &text);
            }
            20..55 => drop(sim.server_reads()),
            55..80 => drop(sim.deliver()),
            80..85 => sim.step_old_connections(),
            _ => {
                let millis = sim.random.u64(..300);
                sim.advance(millis);
            }
        }
    }
    sim.run_until_idle();
    (sim, texts)
}

#[test]
fn each_line_is_said_once_or_shown_in_doubt_however_the_connection_breaks() {
    let seeds = std::env::var("FORKCHAT_SIM_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(100);
    let mut doubts = 0;
    for seed in 0..seeds {
        for (has_history, is_udp) in [(true, false), (false, false), (false, true), (true, true)] {
            let (sim, texts) = run(seed, has_history, is_udp);
            assert!(texts.len() > 20, "seed {seed}");
            if has_history && !is_udp {
                let said: Vec<&str> = sim
                    .server
                    .log
                    .iter()
                    .filter(|(_, nick, ..)| nick == "bob")
                    .map(|(_, _, text, _)| text.as_str())
                    .collect();
                let mut heard = sim.received_from("bob");
                let live: Vec<_> = heard
                    .iter()
                    .filter(|received| !received.is_earlier)
                    .map(|received| received.id)
                    .collect();
                assert!(live.is_sorted(), "seed {seed}: reordered: {live:?}");
                // While the client waits for its nickname, new lines are shown before missed
                // ones.
                heard.sort_by_key(|received| received.id);
                let heard: Vec<&str> =
                    heard.iter().map(|received| received.text.as_str()).collect();
                assert_eq!(heard, said, "seed {seed}: lost or doubled");
            }
            for (text, (said, accepted, doubted)) in sim.fates(&texts) {
                let what = format!(
                    "seed {seed}, history {has_history}, udp {is_udp}: {text:?} said {said}, \
                     accepted {accepted}, doubted {doubted}"
                );
                assert!(said <= 1, "doubled: {what}");
                assert!(accepted <= said, "shown as accepted: {what}");
                assert_eq!(accepted + doubted, 1, "not shown, or shown twice: {what}");
                if has_history && !is_udp {
                    assert_eq!((said, accepted), (1, 1), "the history has the line: {what}");
                }
                doubts += doubted;
            }
        }
    }
    assert!(doubts > 100, "without a history some lines stay in doubt: {doubts}");
}
