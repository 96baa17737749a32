//! Tests of the session against a small model of the server, with broken connections and lost
//! datagrams, by seed.

use super::*;
use std::collections::BTreeMap;

/// Enough of a server: nicknames, rooms, echoes, a history.
struct Server {
    has_history: bool,
    is_udp: bool,
    /// Room, nickname, text and whether it is an action; the place is the id.
    log: Vec<(String, String, String, bool)>,
    connections: Vec<Connection>,
    guests: usize,
    /// The history's first place.
    remembers_from: usize,
    /// Private messages that were received.
    messages: Vec<String>,
}

#[derive(Default)]
struct Connection {
    nick: String,
    rooms: Vec<String>,
    tags: bool,
    is_open: bool,
    /// Lines that were sent and not read yet.
    unread: VecDeque<String>,
    /// Lines for the client.
    told: VecDeque<String>,
    datagrams: u64,
}

impl Server {
    fn new(has_history: bool, is_udp: bool) -> Server {
        Server {
            has_history,
            is_udp,
            log: Vec::new(),
            connections: Vec::new(),
            guests: 0,
            remembers_from: 0,
            messages: Vec::new(),
        }
    }

    fn connect(&mut self) -> usize {
        self.guests += 1;
        let nick = format!("guest{}", self.guests);
        self.connections.push(Connection {
            nick: nick.clone(),
            rooms: vec!["#lobby".to_owned()],
            is_open: true,
            ..Connection::default()
        });
        let number = self.connections.len() - 1;
        self.tell(number, "event=welcome", &format!("* Welcome to forkchat, {nick}."));
        number
    }

    fn tell(&mut self, number: usize, tags: &str, prose: &str) {
        let id = self.log.len();
        let connection = &mut self.connections[number];
        connection.datagrams += 1;
        let datagram =
            if self.is_udp { format!(";datagram={}", connection.datagrams) } else { String::new() };
        let tags =
            if connection.tags { format!("@id={id}{datagram};{tags} ") } else { String::new() };
        connection.told.push_back(format!("{tags}{prose}"));
    }

    /// Somebody else says something in a room.
    fn other_says(&mut self, room: &str, text: &str) {
        self.log.push((room.to_owned(), "bob".to_owned(), text.to_owned(), false));
        for number in 0..self.connections.len() {
            if self.connections[number].is_open
                && self.connections[number].rooms.iter().any(|member| member == room)
            {
                self.tell(
                    number,
                    &format!("event=say;room={room};nick=bob"),
                    &format!("[{room}] bob: {text}"),
                );
            }
        }
    }

    /// Reads one line of a connection; `false` if there is none.
    fn read(&mut self, number: usize) -> bool {
        let Some(line) = self.connections[number].unread.pop_front() else { return false };
        let (nick, room) = (
            self.connections[number].nick.clone(),
            self.connections[number].rooms.last().cloned().unwrap_or_default(),
        );
        let parsed = parse(&line);
        let said = match &parsed {
            Ok(Some((_, Command::Say(text)))) => (*text).to_owned(),
            Ok(Some((_, Command::SayIndented(indent, rest)))) => format!("{indent}{rest}"),
            _ => String::new(),
        };
        match parsed {
            Ok(Some((_, Command::Say(_) | Command::SayIndented(..)))) if room.is_empty() => {
                self.tell(number, "event=error", &format!("! you are in no room: {said}"));
            }
            Ok(Some((_, Command::Say(_) | Command::SayIndented(..)))) => {
                let text = &said;
                self.log.push((room.clone(), nick.clone(), text.clone(), false));
                self.tell(
                    number,
                    &format!("event=say;room={room};nick={nick}"),
                    &format!("[{room}] {nick}: {text}"),
                );
            }
            Ok(Some((_, Command::Me(text)))) => {
                self.log.push((room.clone(), nick.clone(), text.to_owned(), true));
                self.tell(
                    number,
                    &format!("event=action;room={room};nick={nick}"),
                    &format!("[{room}] * {nick} {text}"),
                );
            }
            Ok(Some((_, Command::Set(setting, on)))) => {
                if setting == Setting::Tags {
                    self.connections[number].tags = on;
                }
                self.tell(number, "event=reply;to=set", "* set");
            }
            Ok(Some((_, Command::Nick(name)))) => {
                if self.connections.iter().enumerate().any(|(other, connection)| {
                    other != number && connection.is_open && connection.nick == name
                }) {
                    return {
                        self.tell(number, "event=error;to=nick", "! taken");
                        true
                    };
                }
                name.clone_into(&mut self.connections[number].nick);
                self.tell(number, &format!("event=reply;to=nick;nick={name}"), "* you are now");
            }
            Ok(Some((_, Command::Join(name)))) => {
                self.connections[number].rooms.retain(|room| room != name);
                self.connections[number].rooms.push(name.to_owned());
                self.tell(number, &format!("event=reply;to=join;room={name}"), "* joined");
            }
            Ok(Some((_, Command::Leave(Some(name))))) => {
                self.connections[number].rooms.retain(|room| room != name);
                let target = self.connections[number]
                    .rooms
                    .last()
                    .map_or(String::new(), |room| format!(";target={room}"));
                self.tell(number, &format!("event=reply;to=leave;room={name}{target}"), "* left");
            }
            Ok(Some((_, Command::Whoami))) => {
                let room = if room.is_empty() { room } else { format!(";room={room}") };
                self.tell(number, &format!("event=reply;to=whoami;nick={nick}{room}"), "* you are");
            }
            Ok(Some((_, Command::Who(_)))) => {
                self.tell(number, &format!("event=reply;to=who;room={room};names={nick}"), "* in");
                self.tell(number, &format!("event=reply;to=who;room={room}"), "* … and more");
            }
            Ok(Some((_, Command::Msg { nick: to, text }))) => {
                if self
                    .connections
                    .iter()
                    .any(|connection| connection.is_open && connection.nick == to)
                {
                    self.messages.push(text.to_owned());
                    self.tell(
                        number,
                        &format!("event=private;nick={nick};target={to}"),
                        &format!("[@{to}] {nick}: {text}"),
                    );
                } else {
                    self.tell(
                        number,
                        "event=error;to=msg",
                        &format!("! no user named {to}; /who lists who is in the room"),
                    );
                }
            }
            Ok(Some((_, Command::Ping(text)))) => {
                self.tell(number, "event=pong;to=ping", format!("* pong {text}").trim_end())
            }
            Ok(Some((_, Command::Quit(_)))) => {
                self.tell(number, "event=reply;to=quit", "* goodbye");
                self.connections[number].is_open = false;
            }
            Ok(Some((_, Command::History(_)))) if self.has_history => {
                for (id, (of, nick, text, is_action)) in
                    self.log.clone().into_iter().enumerate().filter(|(_, (of, ..))| *of == room)
                {
                    let kind = if is_action { "action" } else { "say" };
                    let prose = if is_action {
                        format!("[{of}] * {nick} {text}")
                    } else {
                        format!("[{of}] {nick}: {text}")
                    };
                    let connection = &mut self.connections[number];
                    connection.datagrams += 1;
                    let datagram = if self.is_udp {
                        format!(";datagram={}", connection.datagrams)
                    } else {
                        String::new()
                    };
                    connection.told.push_back(format!(
                        "@id={}{datagram};event={kind};to=history;room={of};nick={nick} {prose}",
                        id + 1
                    ));
                }
                self.tell(
                    number,
                    &format!("event=reply;to=history;room={room};since={}", self.remembers_from),
                    "* end of the history",
                );
            }
            Ok(Some((_, Command::History(_)))) | Err(_) => {
                let name = line[1..].split(' ').next().unwrap_or_default().to_owned();
                self.tell(number, &format!("event=error;to={name}"), "! no such command");
            }
            other => panic!("the model knows no {other:?}"),
        }
        true
    }
}

/// A session, a server, and the network between them.
struct World {
    session: Conversation,
    server: Server,
    number: Option<usize>,
    now: Instant,
    random: fastrand::Rng,
    shown: Vec<Entry>,
    ended: Option<Outcome>,
    /// Of this many datagrams one is lost; 0 loses none.
    loss: usize,
}

impl World {
    fn new(seed: u64, config: Config, server: Server, loss: usize) -> World {
        let now = Instant::now();
        let session = Conversation::new(config, now);
        let mut world = World {
            session,
            server,
            number: None,
            now,
            random: fastrand::Rng::with_seed(seed),
            shown: Vec::new(),
            ended: None,
            loss,
        };
        world.obey();
        world
    }

    /// Time passes until there is a connection.
    fn reconnect(&mut self) {
        while self.number.is_none() {
            self.bury();
            self.pass(100);
        }
    }

    fn is_lost(&mut self) -> bool {
        self.loss > 0 && self.random.usize(..self.loss) == 0
    }

    /// Carries out what the session says.
    fn obey(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect => {
                    self.number = Some(self.server.connect());
                    self.session.connected(self.now);
                }
                Output::Send(bytes) => {
                    let line = String::from_utf8(bytes).unwrap().trim_end_matches('\n').to_owned();
                    if let Some(number) = self.number.filter(|_| !self.is_lost()) {
                        self.server.connections[number].unread.push_back(line);
                    }
                }
                Output::Show(shown) => self.shown.push(shown),
                Output::Close => {
                    if self.number.take().is_some() {
                        self.session.lost("closed", self.now, 0.5);
                    }
                }
                Output::End(ended) => self.ended = Some(ended),
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        if self.session.next_timeout().is_some_and(|at| at <= self.now) {
            self.session.tick(self.now);
        }
        self.obey();
    }

    fn read(&mut self) -> bool {
        self.number.is_some_and(|number| self.server.read(number))
    }

    fn hear(&mut self) -> bool {
        let Some(line) =
            self.number.and_then(|number| self.server.connections[number].told.pop_front())
        else {
            return false;
        };
        if !self.is_lost() {
            self.session.told(line.as_bytes(), self.now);
        }
        self.obey();
        true
    }

    fn say(&mut self, text: &str) {
        self.session.typed(text, self.now);
        self.obey();
    }

    /// The connection breaks: what the server has not read may still be read, what it told is lost.
    fn cut(&mut self) {
        if self.number.take().is_some() {
            self.session.lost("cut", self.now, self.random.f64());
            self.obey();
        }
    }

    /// One step of those connections that the client has given up: the server reads what is left,
    /// then ends them.
    fn bury(&mut self) {
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

    /// Until nothing moves any more.
    fn settle(&mut self) {
        self.loss = 0;
        for _ in 0..600 {
            while self.read() || self.hear() {}
            (0..20).for_each(|_| self.bury());
            self.pass(500);
        }
    }

    /// What was shown of somebody.
    fn heard_from(&self, nick: &str) -> Vec<&Received> {
        let told = self
            .shown
            .iter()
            .filter_map(|shown| if let Entry::Received(told) = shown { Some(told) } else { None });
        told.filter(|told| told.nick.as_deref() == Some(nick)).collect()
    }

    fn notices(&self) -> Vec<&str> {
        self.shown
            .iter()
            .filter_map(
                |shown| if let Entry::Notice(text) = shown { Some(text.as_str()) } else { None },
            )
            .collect()
    }

    /// How often each text was said, shown as accepted, and shown as doubtful or not sent.
    fn fates(&self, texts: &[String]) -> BTreeMap<String, (usize, usize, usize)> {
        let said =
            |text: &String| self.server.log.iter().filter(|(_, _, said, _)| said == text).count();
        let accepted = |text: &String| {
            self.shown
                .iter()
                .filter(
                    |shown| matches!(shown, Entry::Received(told) if told.is_own && told.text == *text),
                )
                .count()
        };
        let doubted = |text: &String| {
            let is_doubt = |shown: &&Entry| matches!(shown, Entry::Own { text: shown, standing: DeliveryState::InDoubt | DeliveryState::NotSent, .. } if shown.trim_start_matches("/me ") == text);
            self.shown.iter().filter(is_doubt).count()
        };
        texts
            .iter()
            .map(|text| (text.clone(), (said(text), accepted(text), doubted(text))))
            .collect()
    }
}

fn config(interactive: bool, udp: bool) -> Config {
    Config {
        nick: Some("me".to_owned()),
        rooms: vec!["#rust".to_owned()],
        charset: Charset::default(),
        udp,
        interactive,
        commands: true,
    }
}

/// Types, reads, hears, cuts and waits by chance; gives back the world at rest and what was typed.
fn run(seed: u64, has_history: bool, is_udp: bool) -> (World, Vec<String>) {
    let loss = if is_udp { 4 + usize::try_from(seed % 8).unwrap() } else { 0 };
    let mut world = World::new(seed, config(true, is_udp), Server::new(has_history, is_udp), loss);
    let mut texts = Vec::new();
    for _ in 0..400 {
        match world.random.usize(..100) {
            0..15 => {
                let text = format!("line {}", texts.len());
                let is_said = world.random.bool();
                world.say(&if is_said { text.clone() } else { format!("/me {text}") });
                texts.push(text);
            }
            15..17 => {
                let which = world.random.usize(..7);
                world.say(
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
            17..20 => world.cut(),
            20..25 if world.session.login.was_done() => {
                let text = format!("other {}", world.server.log.len());
                world.server.other_says("#rust", &text);
            }
            20..55 => drop(world.read()),
            55..80 => drop(world.hear()),
            80..85 => world.bury(),
            _ => {
                let millis = world.random.u64(..300);
                world.pass(millis);
            }
        }
    }
    world.settle();
    (world, texts)
}

#[test]
fn a_line_is_said_once_or_doubted_however_the_connection_breaks() {
    let seeds = std::env::var("FORKCHAT_SIM_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(100);
    let mut doubts = 0;
    for seed in 0..seeds {
        for (has_history, is_udp) in [(true, false), (false, false), (false, true), (true, true)] {
            let (world, texts) = run(seed, has_history, is_udp);
            assert!(texts.len() > 20, "seed {seed}");
            if has_history && !is_udp {
                let said: Vec<&str> = world
                    .server
                    .log
                    .iter()
                    .filter(|(_, nick, ..)| nick == "bob")
                    .map(|(_, _, text, _)| text.as_str())
                    .collect();
                let mut heard = world.heard_from("bob");
                let live: Vec<_> =
                    heard.iter().filter(|told| !told.is_earlier).map(|told| told.id).collect();
                assert!(live.is_sorted(), "seed {seed}: reordered: {live:?}");
                // While the nickname is asked for again, what is said just then is shown before
                // what was missed.
                heard.sort_by_key(|told| told.id);
                let heard: Vec<&str> = heard.iter().map(|told| told.text.as_str()).collect();
                assert_eq!(heard, said, "seed {seed}: lost or doubled");
            }
            for (text, (said, accepted, doubted)) in world.fates(&texts) {
                let what = format!(
                    "seed {seed}, history {has_history}, udp {is_udp}: {text:?} said {said}, accepted {accepted}, doubted {doubted}"
                );
                assert!(said <= 1, "doubled: {what}");
                assert!(accepted <= said, "shown as accepted: {what}");
                assert_eq!(accepted + doubted, 1, "lost without a word, or shown twice: {what}");
                if has_history && !is_udp {
                    assert_eq!((said, accepted), (1, 1), "the history would have told: {what}");
                }
                doubts += doubted;
            }
        }
    }
    assert!(doubts > 100, "without a history some are doubtful: {doubts}");
}

#[test]
fn a_login_is_one_breath_and_its_answers_are_not_shown() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    let sent: Vec<String> = world.server.connections[0].unread.iter().cloned().collect();
    assert_eq!(sent, ["/set tags on", "/set echo on", "/nick me", "/join #rust", "/whoami"]);
    world.settle();
    let prose: Vec<String> = world
        .shown
        .iter()
        .map(|shown| {
            if let Entry::Received(told) = shown {
                told.prose.clone()
            } else {
                format!("{shown:?}")
            }
        })
        .collect();
    assert_eq!(prose, ["* Welcome to forkchat, guest1.", "* you are now", "* joined"]);
    assert_eq!((world.session.nick(), world.session.room()), ("me", Some("#rust")));
    world.say("/who");
    world.settle();
    assert_eq!(
        world.shown.len(),
        3 + 2,
        "an answer that was asked for is shown with all its lines"
    );
}

#[test]
fn after_a_loss_nick_rooms_and_settings_are_taken_back() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    for line in ["/join #c", "/leave #lobby", "/join #rust", "/set joins off", "/nick other"] {
        world.say(line);
        world.settle();
    }
    world.cut();
    world.settle();
    let connection = world.server.connections.last().unwrap();
    assert_eq!(
        (connection.nick.as_str(), connection.rooms.as_slice()),
        ("other", ["#c".to_owned(), "#rust".to_owned()].as_slice())
    );
    assert_eq!(world.session.room(), Some("#rust"));
    let notices: Vec<&str> = world
        .shown
        .iter()
        .filter_map(
            |shown| if let Entry::Notice(text) = shown { Some(text.as_str()) } else { None },
        )
        .collect();
    assert!(
        notices.iter().any(|notice| notice.starts_with("connection lost: cut; trying again in ")),
        "{notices:?}"
    );
    assert!(notices.contains(&"reconnected as other in #rust"), "{notices:?}");
}

#[test]
fn the_rooms_after_a_loss_are_exactly_those_before_it() {
    for (rooms, typed) in [
        (&[] as &[&str], &[] as &[&str]),
        (&["#rust"], &[]),
        (&["#rust", "#c"], &["/join #rust"]),
        (&["#rust"], &["/leave #lobby"]),
        (&["#rust"], &["/leave #rust"]),
        (&[], &["/leave #lobby"]),
        (&["#rust"], &["/leave #lobby", "/join #lobby"]),
    ] {
        for is_udp in [false, true] {
            let rooms: Vec<String> = rooms.iter().map(|&room| room.to_owned()).collect();
            let mut world = World::new(
                1,
                Config { rooms, ..config(true, is_udp) },
                Server::new(true, is_udp),
                0,
            );
            world.settle();
            for line in typed {
                world.say(line);
                world.settle();
            }
            let rooms_now = |world: &World| world.server.connections.last().unwrap().rooms.clone();
            let (before, room) = (rooms_now(&world), world.session.room().map(str::to_owned));
            // A second loss knows what the first one left.
            for loss in 0..2 {
                world.cut();
                world.server.other_says("#lobby", &format!("meanwhile {loss}"));
                world.settle();
                let mut after = rooms_now(&world);
                assert_eq!(after.last(), before.last(), "talked in: {typed:?}");
                after.sort();
                let mut before = before.clone();
                before.sort();
                assert_eq!(
                    (after, world.session.room()),
                    (before.clone(), room.as_deref()),
                    "{typed:?}"
                );
                let is_heard = world
                    .heard_from("bob")
                    .iter()
                    .any(|told| told.text == format!("meanwhile {loss}"));
                assert_eq!(
                    is_heard,
                    before.contains(&"#lobby".to_owned()),
                    "{typed:?}: {:?}",
                    world.notices()
                );
            }
        }
    }
}

#[test]
fn a_second_loss_at_any_moment_of_the_return_changes_no_room() {
    for is_udp in [false, true] {
        for steps in 0..40 {
            let mut world = World::new(1, config(true, is_udp), Server::new(true, is_udp), 0);
            world.settle();
            world.cut();
            world.reconnect();
            for _ in 0..steps {
                world.read();
                world.hear();
            }
            world.cut();
            world.settle();
            let rooms = &world.server.connections.last().unwrap().rooms;
            assert_eq!(
                (rooms.as_slice(), world.session.room()),
                (["#lobby".to_owned(), "#rust".to_owned()].as_slice(), Some("#rust")),
                "{steps}"
            );
        }
    }
}

#[test]
fn over_udp_no_single_datagram_that_is_lost_on_the_return_changes_a_room() {
    // Its history is the first that is asked for.
    let config =
        Config { rooms: vec!["#rust".to_owned(), "#lobby".to_owned()], ..config(true, true) };
    for lost in 0..40 {
        let mut world = World::new(1, config.clone(), Server::new(true, true), 0);
        world.settle();
        world.cut();
        world.reconnect();
        // Line by line; one of them or its answer doesn't arrive.
        for step in 0..40 {
            let connection = world.server.connections.last_mut().unwrap();
            if step * 2 == lost {
                connection.unread.pop_front();
            }
            world.read();
            if step * 2 + 1 == lost {
                world.server.connections.last_mut().unwrap().told.pop_front();
            }
            world.hear();
        }
        world.settle();
        let mut rooms = world.server.connections.last().unwrap().rooms.clone();
        assert_eq!(
            (rooms.pop().as_deref(), world.session.room()),
            (Some("#lobby"), Some("#lobby")),
            "{lost}"
        );
        assert_eq!(rooms, ["#rust"], "{lost}");
    }
}

#[test]
fn over_udp_a_room_whose_farewell_was_lost_is_not_entered_again() {
    let mut world = World::new(1, config(true, true), Server::new(true, true), 0);
    world.settle();
    world.say("/leave #lobby");
    while world.read() {}
    // The answer is lost; typed again it is refused, for one isn't there any more.
    world.server.connections[0].told.clear();
    world.session.told(b"@id=1;event=error;to=leave ! you are not in #lobby", world.now);
    world.obey();
    world.settle();
    world.cut();
    world.settle();
    assert_eq!(world.server.connections.last().unwrap().rooms, ["#rust"]);
}

#[test]
fn what_others_said_meanwhile_is_shown_once_as_earlier_and_in_order() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.say("/join #c");
    world.settle();
    world.server.other_says("#rust", "me: before");
    world.settle();
    // Received by nobody.
    world.server.other_says("#rust", "me: unread");
    world.cut();
    for (room, text) in
        [("#c", "in c"), ("#rust", "me: in rust"), ("#other", "not there"), ("#c", "again in c")]
    {
        world.server.other_says(room, text);
    }
    world.settle();
    world.server.other_says("#c", "after");
    world.settle();
    let heard: Vec<(&str, bool)> =
        world.heard_from("bob").iter().map(|told| (told.text.as_str(), told.is_earlier)).collect();
    let missed = ["me: unread", "in c", "me: in rust", "again in c"].map(|text| (text, true));
    assert_eq!(heard[1..5], missed);
    assert_eq!((heard[0], heard[5], heard.len()), (("me: before", false), ("after", false), 6));
    assert!(
        world.notices().contains(&"4 lines said while you were disconnected are marked ~; private messages from that time are not stored"),
        "{:?}",
        world.notices()
    );
    assert_eq!(world.session.room(), Some("#c"));
    // Nothing is asked for twice.
    world.cut();
    world.settle();
    assert_eq!(world.heard_from("bob").len(), 6);
    assert!(
        world
            .notices()
            .contains(&"nothing was said in your rooms while you were disconnected; private messages from that time are not stored")
    );
}

#[test]
fn where_the_history_has_not_everything_it_is_said_that_more_may_be_missing() {
    // Its history begins later than what was received; it has none; its clock was set back.
    for (has_history, remembers_from, id, notice) in [
        (
            true,
            1_000,
            0,
            "there may be more in #lobby, #rust; private messages from that time are not stored",
        ),
        (
            false,
            0,
            0,
            "there may be more in #lobby, #rust; private messages from that time are not stored",
        ),
        (
            true,
            0,
            5_000,
            "cannot show what others said while you were disconnected: the server's line numbers have changed; /history shows a room's last lines",
        ),
    ] {
        let mut server = Server::new(has_history, false);
        server.remembers_from = remembers_from;
        let mut world = World::new(1, config(true, false), server, 0);
        world.settle();
        world.session.told(
            format!("@id={id};event=say;room=#rust;nick=bob [#rust] bob: hi").as_bytes(),
            world.now,
        );
        world.cut();
        world.settle();
        assert!(world.notices().contains(&notice), "{:?}", world.notices());
        world.say("still here");
        world.settle();
        assert_eq!(world.server.log.len(), 1);
    }
}

#[test]
fn a_message_typed_during_an_outage_waits_for_its_receiver_to_come_back_too() {
    for is_seen in [true, false] {
        let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
        world.settle();
        world.cut();
        while world.server.connections[0].is_open {
            world.bury();
        }
        world.say("/msg carol one");
        let reads = |world: &mut World, millis: u64| {
            for _ in 0..millis / 100 {
                while world.read() || world.hear() {}
                world.pass(100);
            }
        };
        reads(&mut world, 5_000);
        world.say("/msg Carol two");
        reads(&mut world, 1_000);
        assert!(world.server.messages.is_empty());
        assert!(
            world.notices().contains(&"carol is not back yet; retrying your message for 30 s"),
            "{:?}",
            world.notices()
        );
        let carol = world.server.connect();
        world.server.connections[carol].nick = "carol".to_owned();
        world.server.connections.push(Connection {
            nick: "Carol".to_owned(),
            is_open: true,
            ..Connection::default()
        });
        if is_seen {
            world
                .session
                .told(b"@id=1;event=join;room=#rust;nick=carol * carol joined #rust", world.now);
            world.obey();
            while world.read() || world.hear() {}
        } else {
            reads(&mut world, 4_000);
        }
        assert_eq!(world.server.messages, ["one", "two"], "seen: {is_seen}");
        let refused = |shown: &&Entry| {
            matches!(shown, Entry::Received(Received { kind: Some(Kind::Error), .. }))
        };
        assert_eq!(world.shown.iter().filter(refused).count(), 0, "{:?}", world.shown);
    }
}

#[test]
fn a_receiver_who_does_not_come_back_is_waited_for_no_longer_than_that() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.say("/msg carol now");
    world.settle();
    assert!(
        matches!(
            world.shown.last(),
            Some(Entry::Received(Received { kind: Some(Kind::Error), .. }))
        ),
        "no outage, no wait"
    );
    world.cut();
    world.say("/msg carol later");
    world.settle();
    let last: Vec<&Entry> = world.shown.iter().rev().take(2).collect();
    assert!(
        matches!(last[0], Entry::Received(Received { kind: Some(Kind::Error), .. })),
        "{last:?}"
    );
    assert!(
        matches!(last[1], Entry::Own { text, standing: DeliveryState::NotSent, .. } if text == "/msg carol later"),
        "{last:?}"
    );
    assert_eq!((world.session.unaccepted(), world.server.messages.len()), (0, 0));
}

#[test]
fn while_the_old_session_bears_the_nick_nothing_is_said_under_another() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.cut();
    world.pass(5_000);
    world.say("hi");
    for _ in 0..50 {
        while world.read() || world.hear() {}
        world.pass(100);
    }
    assert!(world.server.log.is_empty(), "the old session was not buried");
    world.settle();
    assert_eq!(world.server.log, [("#rust".to_owned(), "me".to_owned(), "hi".to_owned(), false)]);
}

#[test]
fn a_filter_ends_behind_its_last_line_and_fails_with_a_refused_wish() {
    let mut world = World::new(1, config(false, false), Server::new(true, false), 0);
    for number in 0..200 {
        world.say(&format!("line {number}"));
    }
    world.session.input_ended(world.now);
    world.settle();
    assert_eq!((world.ended, world.server.log.len()), (Some(Outcome::Done), 200));

    let mut server = Server::new(true, false);
    let other = server.connect();
    server.connections[other].nick = "me".to_owned();
    let mut world = World::new(1, config(false, false), server, 0);
    world.say("not under another name");
    world.session.input_ended(world.now);
    while world.read() || world.hear() {}
    assert_eq!(
        (world.ended, world.server.log.len()),
        (Some(Outcome::Failed("taken".to_owned())), 0)
    );
    assert!(
        world
            .shown
            .iter()
            .any(|shown| matches!(shown, Entry::Own { standing: DeliveryState::NotSent, .. }))
    );
}

#[test]
fn without_commands_every_line_is_text_and_said_exactly() {
    let mut world = World::new(
        1,
        Config { commands: false, ..config(false, false) },
        Server::new(true, false),
        0,
    );
    let texts = [
        "/usr/bin/ld: cannot find -lfoo",
        "// a comment",
        "/quit",
        "/topic x",
        "/",
        "/set tags off",
        " /me",
    ];
    for text in texts {
        world.say(text);
    }
    world.session.input_ended(world.now);
    world.settle();
    assert_eq!(world.ended, Some(Outcome::Done));
    assert!(
        world.server.log.iter().map(|(_, _, text, _)| text.as_str()).eq(texts),
        "{:?}",
        world.server.log
    );
}

#[test]
fn what_the_server_takes_out_before_a_slash_makes_no_command_of_text() {
    let mut world = World::new(
        1,
        Config { commands: false, ..config(false, false) },
        Server::new(true, false),
        0,
    );
    ["\x1b/quit", "\x1b[A/quit", "a\x08/quit", "\u{202a}/usr", "\u{feff}/topic x", "\u{301}/quit"]
        .iter()
        .for_each(|text| world.say(text));
    world.session.input_ended(world.now);
    world.settle();
    assert_eq!(world.ended, Some(Outcome::Done));
    let said = world.server.log.iter().map(|(_, _, text, _)| text.as_str());
    assert!(
        said.eq(["/quit", "/quit", "/quit", "/usr", "/topic x", "\u{301}/quit"]),
        "{:?}",
        world.server.log
    );
}

#[test]
fn a_filter_whose_line_was_refused_names_it_as_it_was_read_and_fails() {
    let mut world = World::new(
        1,
        Config { commands: false, ..config(false, false) },
        Server::new(true, false),
        0,
    );
    while world.read() || world.hear() {}
    world.server.connections[0].rooms.clear();
    world.session.told(b"@id=1;event=reply;to=leave;room=#rust * you left #rust", world.now);
    world.say("/etc/passwd");
    world.session.input_ended(world.now);
    world.settle();
    assert_eq!(world.ended, Some(Outcome::Failed("a line was not accepted".to_owned())));
    let refused = |shown: &Entry| matches!(shown, Entry::Own { text, standing: DeliveryState::NotSent, .. } if text == "/etc/passwd");
    assert!(world.shown.iter().any(refused), "{:?}", world.shown);
}

#[test]
fn a_filter_that_loses_its_connection_fails_and_says_what_was_not_accepted() {
    let mut world = World::new(1, config(false, false), Server::new(true, false), 0);
    while world.read() || world.hear() {}
    world.say("one");
    while world.read() || world.hear() {}
    world.say("two");
    world.cut();
    assert_eq!(world.ended, Some(Outcome::Failed("connection lost: cut".to_owned())));
    assert_eq!(world.fates(&["one".to_owned(), "two".to_owned()])["two"], (0, 0, 1));
}

#[test]
fn what_the_client_needs_can_not_be_switched_off_and_long_lines_are_refused() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    for line in ["/set tags off", "/SET echo off", "/charset gbk", &"x".repeat(4_096)] {
        world.say(line);
        assert!(matches!(world.shown.last(), Some(Entry::Refusal(_))), "{line}");
    }
    assert!(world.server.connections[0].unread.is_empty());
    world.say(&"x".repeat(4_095));
    world.say("\x1b\x07");
    assert_eq!(world.server.connections[0].unread.len(), 1, "what has no text is nothing");
}

#[test]
fn whose_name_is_said_is_told() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    let mut is_for_me = |tags: &str, text: &str| {
        world.session.told(format!("@id=1;{tags} {text}").as_bytes(), world.now);
        world.obey();
        matches!(world.shown.last(), Some(Entry::Received(Received { is_for_me: true, .. })))
    };
    let say = "event=say;room=#rust;nick=bob";
    assert!(is_for_me(say, "[#rust] bob: ME: look"));
    assert!(is_for_me(say, "[#rust] bob: look (me)"));
    assert!(!is_for_me(say, "[#rust] bob: some names, home"));
    assert!(is_for_me("event=private;nick=bob;target=me", "[@bob] bob: psst"));
    assert!(!is_for_me("event=join;room=#rust;nick=me2", "* me2 joined #rust"));
}

#[test]
fn of_a_long_paste_that_waits_a_count_is_shown_not_every_line() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.shown.clear();
    for number in 0..5_000 {
        world.say(&format!("line {number}"));
        // The server takes one line in a while.
        if number % 5 == 0 {
            world.read();
        }
        world.pass(1);
    }
    let (waiting, counts): (Vec<&Entry>, Vec<&Entry>) = world
        .shown
        .iter()
        .filter(|shown| !matches!(shown, Entry::Received(_)))
        .partition(|shown| matches!(shown, Entry::Own { .. }));
    assert!(
        waiting.len() <= 5 && (3..=6).contains(&counts.len()),
        "{} and {counts:?}",
        waiting.len()
    );
}

#[test]
fn a_room_whose_join_was_in_doubt_is_entered_before_what_was_typed_behind_it_is_said() {
    for has_history in [true, false] {
        let mut world = World::new(1, config(true, false), Server::new(has_history, false), 0);
        world.settle();
        world.say("for rust");
        world.say("/join #c");
        world.say("for c only");
        world.cut();
        world.settle();
        let said = |text: &str| {
            world
                .server
                .log
                .iter()
                .filter(|(_, _, said, _)| said == text)
                .map(|(room, ..)| room.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!((said("for c only"), world.session.room()), (vec!["#c"], Some("#c")));
        assert!(said("for rust") == ["#rust"]);
    }
}

#[test]
fn a_line_behind_a_nick_that_was_in_doubt_is_not_said_twice() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.say("/nick other");
    world.say("hi");
    while world.read() {}
    world.cut();
    world.settle();
    assert_eq!(world.fates(&["hi".to_owned()])["hi"], (1, 1, 0));
    assert_eq!(world.session.nick(), "other");
}

#[test]
fn over_udp_a_login_that_was_lost_is_sent_again_and_its_signs_of_life_are_not_shown() {
    for lost in 1..8 {
        let mut world = World::new(1, config(true, true), Server::new(false, true), 0);
        if lost == 1 {
            world.server.connections[0].unread.clear();
        } else {
            // One line of the login, or its answer.
            world.server.connections[0].unread.remove(lost - 2);
        }
        world.settle();
        world.say("hi");
        world.settle();
        assert_eq!(
            world.server.log,
            [("#rust".to_owned(), "me".to_owned(), "hi".to_owned(), false)],
            "{lost}"
        );
        assert!(
            !world
                .shown
                .iter()
                .any(|shown| matches!(shown, Entry::Received(told) if told.prose.contains("pong"))),
            "{lost}: {:?}",
            world.shown
        );
    }
}

#[test]
fn over_udp_the_clients_own_question_is_not_shown_however_late_and_often_its_answer_comes() {
    let mut world = World::new(1, config(true, true), Server::new(true, true), 0);
    world.settle();
    let past = "@id=7;event=say;to=history;room=#rust;nick=eve [#rust] eve: look here, me";
    let end = "@id=9;event=reply;to=history;room=#rust;since=0 * end of the history";
    // A line of one's own that the history has is shown as accepted.
    let is_history = |shown: &&Entry| matches!(shown, Entry::Received(told) if told.to.as_deref() == Some("history") && !told.is_own);
    world.say("hi");
    while world.read() {}
    world.cut();
    world.settle();
    // The answer comes again after all that was asked is settled: it was thought lost, and asked
    // for twice.
    for line in [past, end, past, end] {
        world.session.told(line.as_bytes(), world.now);
    }
    world.obey();
    assert_eq!(world.shown.iter().find(is_history), None);
    world.say("/history");
    for line in [past, end] {
        world.session.told(line.as_bytes(), world.now);
    }
    world.obey();
    let shown: Vec<_> = world.shown.iter().filter(is_history).collect();
    assert!(
        matches!(shown[..], [Entry::Received(told), Entry::Received(_)] if !told.is_for_me),
        "what was said earlier rings no bell: {shown:?}"
    );
}

#[test]
fn over_udp_a_goodbye_is_looked_into_soon_and_once() {
    let mut world = World::new(1, config(true, true), Server::new(true, true), 0);
    world.settle();
    world.say("hi");
    while world.read() {}
    while world.hear() {}
    world.now += Duration::from_secs(10);
    let due_in = |world: &World| {
        world.session.next_timeout().map(|at| at.saturating_duration_since(world.now).as_secs())
    };
    assert!(due_in(&world) > Some(10));
    world.session.told(b"@id=9;event=say;room=#rust;nick=eve [#rust] eve: goodbye", world.now);
    assert!(due_in(&world) > Some(10), "that is no goodbye of the server's");
    world.session.told(b"@id=9;event=reply * the server is stopping; goodbye", world.now);
    assert_eq!(due_in(&world), Some(0));
    world.pass(0);
    while world.read() {}
    while world.hear() {}
    assert!(due_in(&world) > Some(10), "the session goes on");
}

#[test]
fn a_history_that_does_not_reach_back_proves_nothing() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.say("hi");
    while world.read() {}
    world.cut();
    // The server began anew, and remembers nothing.
    let mut server = Server::new(true, false);
    server.remembers_from = 1_000_000;
    world.server = server;
    world.settle();
    assert_eq!(world.fates(&["hi".to_owned()])["hi"], (0, 0, 1));
}

#[test]
fn without_a_connection_quit_leaves_at_once() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.cut();
    world.say("/quit");
    assert_eq!(world.ended, Some(Outcome::Done));

    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.say("/quit");
    world.cut();
    assert_eq!(world.ended, Some(Outcome::Done), "its answer is lost");
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let mut world = World::new(1, config(false, false), Server::new(true, false), 0);
    for _ in 0..40 {
        world.pass(1_000);
    }
    assert_eq!(
        world.ended,
        Some(Outcome::Failed("connection lost: the server doesn't answer".to_owned()))
    );
}

#[test]
fn what_one_tells_oneself_is_answered_line_by_line() {
    let mut world = World::new(1, config(true, false), Server::new(true, false), 0);
    world.settle();
    world.say("/msg me a");
    world.say("/msg me b");
    let private = "event=private;nick=me;target=me";
    for text in ["a", "a", "b", "b"] {
        world.session.told(format!("@id=9;{private} [@me] me: {text}").as_bytes(), world.now);
    }
    world.obey();
    let own = world.shown.iter().filter_map(|shown| {
        if let Entry::Received(told) = shown {
            told.is_own.then_some(told.text.as_str())
        } else {
            None
        }
    });
    assert_eq!(own.collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn no_number_of_a_datagram_is_too_large() {
    let mut world = World::new(1, config(true, true), Server::new(true, true), 0);
    for number in [1, u64::MAX, u64::MAX, 3] {
        world.session.told(
            format!("@id=1;datagram={number};event=say;room=#a;nick=b [#a] b: hi").as_bytes(),
            world.now,
        );
    }
    world.obey();
    let notices = world.shown.iter().filter(|shown| matches!(shown, Entry::Notice(_))).count();
    assert_eq!(notices, 1);
}
