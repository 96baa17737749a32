//! Each example of a building block, run as a person would: it shows what it says it shows, ends by itself, and leaves nothing behind.

use forkchat_tests::example::Example;
use forkchat_tests::processes::children_of;
use forkchat_tests::{Client, wait_for};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

#[test]
fn start_and_join() {
    let example = Example::run("start_and_join", &[]);
    example.said(&[
        "is she alive? true",
        "anna: exited with code 3; is she alive? false",
        "the parent doesn't wait",
        "looks: berta: exited with code 4",
        "waited 80 ms for clara: she still runs",
        "clara: killed by signal 15",
        "dora begins",
        "dora: killed by signal 9",
        "emma, who panicked: exited with code 101",
    ]);
    let (parent, child) = (example.words("pid ")[1], example.words("started anna as pid")[4].trim_end_matches(';'));
    assert_eq!(example.words("anna begins; her parent is pid").last(), Some(&parent));
    assert_ne!(parent, child);
    assert!(example.errors.contains("emma's mistake"), "{example}");
}

#[test]
fn separate_memory() {
    let example = Example::run("separate_memory", &[]);
    example.said(&[
        "before the fork: variable 1 at ",
        "in the child: variable 42 at ",
        "in the parent: variable 1 at ",
        "when it has read the row, whose sum is 16777216",
        "when it has written to all of it, sum 33554432",
        "the parent's row still has 16777216 ones",
        "the parent's own row is [0, 0, 0, 0]",
        "4 children added 1 to a shared value 1000 times each: 4000",
    ]);
    assert_eq!(
        example.behind("in the child: variable 42 at "),
        example.behind("in the parent: variable 1 at "),
        "one address, two variables"
    );
    for (side, value) in [("before the fork", "1"), ("in the child", "42"), ("in the parent", "42")] {
        assert_eq!(example.words(&format!("{side}: variable")).last(), Some(&value), "the shared value {side}");
    }
    let own = example.numbers_behind("memory that is the child's alone:");
    assert!(own[0] < 4_096 && own[1] < 4_096 && own[2] > 12_288, "16 MiB are copied when they are written, and not before: {own:?}");
    for place in 0..4 {
        let pid = example.behind(&format!("child {place}, pid "))[0];
        assert_eq!(example.words("the shared array is [")[4 + place].trim_matches(['[', ']', ',']), pid, "each child's entry");
        let mut row = ["0"; 4];
        row[place] = pid;
        assert!(example.words(&format!("child {place} has put")).join(" ").ends_with(&format!("[{}]", row.join(", "))), "{example}");
    }
}

#[test]
fn zombie_and_orphan() {
    let example = Example::run("zombie_and_orphan", &[]);
    let (main, zombie) = (example.behind(" s  pid ")[0], example.behind("waited for: pid ")[0]);
    example.said(&[
        &format!("pid {zombie} has ended and nobody has waited for it: state Z, parent pid {main}"),
        "its memory is given back (0 pages)",
        &format!("waited for: pid {zombie}: exited with code 3; not in /proc"),
    ]);
    let parent = |child: &str| example.behind(&format!("a child that {child} its parent, pid "))[0];
    let (first, second) = (parent("outlives"), parent("dies with"));
    let killed = |parent: &str| format!(", pid {parent}, was killed by signal 9");
    let child =
        |parent: &str| example.text[..example.text.find(&killed(parent)).expect("the parent is killed")].rsplit(' ').next().unwrap();
    let (orphan, other) = (child(first), child(second));
    example.said(&[
        &format!("pid {orphan}: state"),
        &killed(first),
        &format!("the orphan lives: pid {orphan}, state"),
        &format!("pid {orphan}: exited with code 0"),
        &format!("pid {other}: state"),
        &killed(second),
        &format!("pid {other}: killed by signal 9"),
    ]);
    assert!(example.words(&format!("pid {orphan}: state")).ends_with(&["parent", "pid", first]), "{example}");
    assert!(example.words("the orphan lives").ends_with(&["parent", "pid", main]), "{example}");
    assert_eq!(example.behind("an orphan: its parent was pid "), [first], "the other child's end comes with its parent's: {example}");
    assert_eq!(example.behind(&format!("an orphan: its parent was pid {first} and is pid ")), [main], "{example}");
}

#[test]
fn ticket_lock() {
    let example = Example::run("ticket_lock", &[]);
    let sold = example.numbers_behind("a lock: of 12 tickets ");
    assert!(sold[0] > 12, "a race must be seen: {example}");
    assert_eq!(sold[1], 12, "{example}");
    example.said(&[
        "4 sellers, 12 tickets, without a lock",
        &format!("without a lock: of 12 tickets {} were sold, {} too many", sold[0], sold[0] - 12),
        "4 sellers, 12 tickets, with a lock",
        "with a lock: of 12 tickets 12 were sold, 0 too many",
        "seller 1 has the lock, seller 2 waits for it",
        "seller 2 has the lock; its owner died: true; tickets left: 1",
        "seller 2 sold one: true",
        "seller 1, who had the lock, was killed by signal 9; seller 2: exited with code 0",
        "seller 3 has the lock; its owner died: false; tickets left: 0",
        "seller 3 sold one: false",
        "seller 3: exited with code 0",
    ]);
    assert_eq!(
        example.text.lines().filter(|line| line.contains("a seller, pid") && line.ends_with(": exited with code 0")).count(),
        8,
        "{example}"
    );
}

#[test]
fn karaoke_semaphore() {
    let example = Example::run("karaoke_semaphore", &[]);
    let inside = example.numbers_behind("inside are now ");
    assert_eq!(inside.len(), 10, "{example}");
    assert!(inside.iter().all(|inside| (1..=4).contains(inside)), "{example}");
    // With one room it would be 1, without a semaphore 10.
    let most = example.numbers_behind("inside were at most ")[0];
    assert!((2..=4).contains(&most), "{example}");
    example.said(&[
        &format!("10 guests have sung; inside were at most {most}; rooms free: 4"),
        "guest 4 finds no room free and waits",
        "guest 2: killed by signal 9; rooms free: 0",
        "the host has given back what guest 2 had: 1",
        "guest 4 has a room; rooms free: 0",
        "guest 2: killed by signal 9",
        "guest 4: exited with code 0",
        "rooms free: 4",
    ]);
}

#[test]
fn pipe_talk() {
    let example = Example::run("pipe_talk", &[]);
    let capacity = example.numbers_behind("a full pipe: it holds ")[0];
    let letter = example.numbers_behind("bytes, the child writes ")[0];
    assert!(letter > capacity, "{example}");
    example.said(&[
        "the parent has written everything; is the child alive? true",
        "the parent has closed its end; the child: exited with code 0",
    ]);
    example.said(&[
        "the child reads: a pipe knows no borders:",
        "the child reads: lines are what its two ends agree on",
        "the child is at the end of input",
        "the parent hears Some(4)",
        "the parent hears Some(9)",
        "the parent hears Some(16)",
        "the child is at the end of input",
        "the parent has closed its end; the child: exited with code 0",
        "200 ms later the child: it still runs",
        &format!("in the pipe are {capacity} bytes; the child is in state S, in "),
        &format!("read while one waits: {letter} bytes; the child: exited with code 0"),
    ]);
    let call = example.words("the child is in state S, in");
    assert!(call.contains(&"write,") || call.ends_with(&["we", "are", "not", "told"]), "{example}");
    assert!(example.numbers_behind("a queue that nobody reads takes ")[0] >= 10, "{example}");
}

#[test]
fn thread_pool() {
    let example = Example::run("thread_pool", &[]);
    for whose in ["our own pool", "the crate's pool"] {
        let done = example.text.lines().filter(|line| line.contains(&format!("{whose}: ThreadId"))).map(|line| {
            let jobs = line.split_once('[').expect("a list of jobs").1.trim_end_matches(']');
            jobs.split(", ").map(|job| job.parse().expect("the number of a job")).collect::<Vec<u64>>()
        });
        let done: Vec<_> = done.collect();
        assert!((1..=4).contains(&done.len()), "as many threads as the pool has: {example}");
        let mut jobs = done.concat();
        jobs.sort_unstable();
        assert_eq!(jobs, (1..=20).collect::<Vec<_>>(), "each job is done once: {example}");
        example.said(&[&format!("{whose}: {} threads, jobs that add up to 210, and 1 that panicked", done.len())]);
    }
    let lost = example.numbers_behind("; lost: ");
    assert!(lost[0] > 0, "a race must be seen: {example}");
    example.said(&[
        &format!("race: 4 threads added 400, the counter says {}; lost: {}", 400 - lost[0], lost[0]),
        "mutex: 4 threads added 400, the counter says 400; lost: 0",
        "one step: 4 threads added 400, the counter says 400; lost: 0",
        "rounds so far; the flag says stop",
        "all threads have stopped, after ",
    ]);
    assert!(example.numbers_behind("all threads have stopped, after ")[0] >= 40, "{example}");
    assert!(example.errors.contains("our own pool goes wrong") && example.errors.contains("the crate's pool goes wrong"), "{example}");
}

#[test]
fn udp_talk() {
    let example = Example::run("udp_talk", &[]);
    example.said(&["Anna: exited with code 0, Berta: exited with code 0"]);
    assert!(example.text.contains("Anna received 12 of 12; lost: []"), "{example}");
    assert!(example.text.contains("Berta received 10 of 12; lost: [7, 12]"), "{example}");
    assert!(
        example.text.contains("Berta has heard nothing for 1s, and waits no longer"),
        "the last one is waited for, but not for ever: {example}"
    );
    for (name, heard) in [("Anna", (1..=12).collect()), ("Berta", Vec::from([1, 2, 3, 4, 5, 6, 8, 9, 10, 11]))] {
        let lines = example.text.lines().filter(|line| line.contains(&format!("{name}, who has sent ")));
        let number = |line: &str| line.split_once("hears: ")?.1.split(' ').next()?.parse::<u32>().ok();
        assert_eq!(lines.filter_map(number).collect::<Vec<_>>(), heard, "{example}");
    }
    // Who first sent and then received would have sent all 12 by then.
    assert!(example.numbers_behind("who has sent ").iter().any(|&sent| sent < 12), "{example}");
}

/// A client of `echo_per_process`, and the process that serves it.
fn echoed(address: &str) -> (Client, Pid) {
    let mut client = Client::new(TcpStream::connect(address).expect("it listens"));
    client.say("hello");
    let echo = client.line().expect("an echo");
    let pid = echo.strip_prefix("hello (echoed by pid ").and_then(|rest| rest.strip_suffix(')')?.parse().ok());
    (client, Pid::from_raw(pid.unwrap_or_else(|| panic!("hello and its suffix, and not {echo}"))))
}

#[test]
fn echo_per_process() {
    let server = Example::start("echo_per_process", &[]);
    let address = server.reads("listening on ");
    // Zombies are children, too.
    let children_are = |expected: &[Pid]| {
        wait_for(&format!("{expected:?} to be all children"), || {
            let mut children = children_of(server.pid());
            children.sort();
            (children.iter().eq(expected)).then_some(())
        });
    };
    let ((mut anna, annas), (mut berta, bertas)) = (echoed(&address), echoed(&address));
    let mut both = [annas, bertas];
    both.sort();
    children_are(&both);
    let echo = |line: &str, pid| Some(format!("{line} (echoed by pid {pid})"));

    anna.send(b"in ");
    // A way there and back: time enough for the piece to arrive as one.
    berta.say("two words");
    assert_eq!(berta.line(), echo("two words", bertas));
    anna.send(b"pieces\r\n");
    assert_eq!(anna.line(), echo("in pieces", annas));
    anna.send(b"two\n\nat once\n");
    assert_eq!([anna.line(), anna.line(), anna.line()], [echo("two", annas), echo("", annas), echo("at once", annas)]);
    anna.say(&"x".repeat(1_500));
    assert_eq!([anna.line(), anna.line()], [echo(&"x".repeat(1_024), annas), echo(&"x".repeat(476), annas)]);

    let (mut clara, claras) = echoed(&address);
    clara.send(b"one line\nand half of one");
    clara.end_input();
    assert_eq!([clara.line(), clara.line(), clara.line()], [echo("one line", claras), echo("and half of one", claras), None]);
    children_are(&both);

    kill(annas, Signal::SIGKILL).expect("it is there");
    assert_eq!(anna.line(), None);
    children_are(&[bertas]);
    berta.say("still here");
    assert_eq!(berta.line(), echo("still here", bertas));

    let client = Example::run("echo_per_process", &["--client", &address]);
    client.said(&["hears: hello (echoed by pid", "hears: is anybody there? (", "hears: goodbye (", "the client has heard everything"]);
    let (input, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"a line\nand another").expect("it holds that");
    drop(writer);
    let client = Example::start_with("echo_per_process", &["--client", &address], input).finish();
    client.said(&["hears: a line (", "hears: and another (", "the client has heard everything"]);
    assert!(!client.text.contains("goodbye"), "{client}");

    children_are(&[bertas]);
    let mut crowd: Vec<_> = (1..16).map(|_| echoed(&address)).collect();
    assert_eq!(children_of(server.pid()).len(), 16);
    let mut late = Client::new(TcpStream::connect(&address).expect("the kernel lets it in"));
    late.say("one more");
    // For a tenth of a second.
    assert!(late.stream().peek(&mut [0]).is_err(), "it waits until another has left");
    drop(crowd.pop());
    assert!(late.line().is_some_and(|line| line.starts_with("one more (echoed by pid ")));
    assert!(children_of(server.pid()).len() <= 16);

    drop((berta, crowd, late));
    let ended = server.finish();
    let (claras, annas) = (format!("pid {claras}: exited with code 0"), format!("pid {annas}: killed by signal 9"));
    ended.said(&["hears: hello (echoed by pid", "the client has heard everything"]);
    ended.said(&["listening on 127.0.0.1:", &claras, &annas, &format!("pid {bertas}: exited with code 0"), "nobody has been here for 3s"]);
    assert_eq!(ended.errors, "", "{ended}");
    let client = Example::run("echo_per_process", &["--client", &address]);
    assert_eq!(client.code, Some(1), "{client}");
    assert!(client.text.contains(&format!("cannot connect to {address}: ")) && client.text.contains("start the server first"), "{client}");
    let client = Example::run("echo_per_process", &["--client", "nonsense"]);
    assert_eq!(client.code, Some(1), "{client}");
    assert!(client.text.contains("cannot connect to nonsense: ") && !client.text.contains("start the server"), "{client}");
}

#[test]
fn traffic_light_event() {
    let example = Example::run("traffic_light_event", &[]);
    example.said(&[
        "is it green? false",
        "the light turns green",
        "dora's car goes after ",
        "the light turns green and at once red again",
        "the keeper: killed by signal 9; is it green? true",
    ]);
    let line_of =
        |part: &str| example.text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part:?} in\n{example}"));
    let (green, pulse) = (line_of("the light turns green"), line_of("green and at once red"));
    for (car, light) in [("anna", green), ("berta", green), ("clara", green), ("emma", pulse), ("frida", pulse)] {
        assert!(line_of(&format!("{car}'s car stops")) < light, "{example}");
        assert!(line_of(&format!("{car}'s car goes")) > light, "{example}");
    }
    assert!(!example.text.contains("dora's car stops") && !example.text.contains("gives up"), "{example}");
}

#[test]
fn producer_consumer() {
    let example = Example::run("producer_consumer", &[]);
    example.said(&[
        "a queue of 4 places",
        "the sum of all numbers is 78, and is to be 78",
        "in hand: killed by signal 9",
        "all of 12 tasks done? false: one is with the dead",
        "its task waits again; all done? true; the sum of what is done is 78",
        "wait for more; they die with their parent",
    ]);
    let taken = (0..3).map(|me| example.words(&format!("consumer {me} took"))[3].parse::<u32>().unwrap()).sum::<u32>();
    assert_eq!(taken, 12, "{example}");
    assert_eq!(example.text.matches(" numbers and an end marker").count(), 3, "one for each\n{example}");
    let consumers = example.words("the consumers ").into_iter().skip(2).take(3).map(|pid| pid.trim_end_matches(','));
    let (consumers, parent) = (consumers.collect::<Vec<_>>(), example.behind("the consumers' parent, pid ")[0]);
    assert_ne!(parent, example.behind(" s  pid ")[0], "{example}");
    assert!(example.text.contains(&format!("the consumers' parent, pid {parent}: exited with code 0")), "{example}");
    assert_eq!(example.behind("a consumer, pid "), consumers, "all are seen to be gone: {example}");
    for pid in consumers {
        assert!(example.text.contains(&format!("a consumer, pid {pid}: killed by signal 9")), "{example}");
    }
}

#[test]
fn process_pool() {
    let example = Example::run("process_pool", &[]);
    example.said(&[
        "get: 12 squared is 144",
        "map: [1, 4, 9, 16, 25, 36, 49, 64, 81], by ",
        "100 is there",
        "121 is there",
        "144 is there",
        "100000: the job panicked: 100000 is too much for me",
        "0: the process that did the job killed by signal 6",
        "7 squared is 49",
        "closed; another job? Some(Closed)",
        "joined: the last six are done, their sum is 91",
        "have no result: the pool was terminated before the job was done",
    ]);
    let pids = |part| example.words(part).into_iter().filter_map(|word| word.trim_end_matches(',').parse().ok()).collect::<Vec<u32>>();
    let (before, after) = (pids("a pool of 3 processes: "), pids("the pool goes on: "));
    let stayed = after.iter().filter(|pid| before.contains(pid)).count();
    assert_eq!((&before[1..].len(), after.len(), stayed), (&3, 3, 2), "one was replaced\n{example}");
}

#[test]
fn ack_server() {
    let example = Example::start("ack_server", &["127.0.0.1:0"]);
    let address: SocketAddr = example.reads("listening on ").split(',').next().unwrap().parse().unwrap();
    // GBK where nothing is said: a character in two pieces, two messages in one.
    let mut client = Client::new(TcpStream::connect(address).unwrap());
    client.send(b"\xc4\xe3\xba");
    client.send(b"\xc3\none\ntwo\n");
    let answers = [(); 3].map(|()| client.line_bytes().unwrap());
    assert_eq!(answers, [b"received: \xc4\xe3\xba\xc3".to_vec(), b"received: one".to_vec(), b"received: two".to_vec()]);
    client.say("/charset utf-8");
    client.say("grüß dich");
    client.reads("received: grüß dich");
    client.send("ohne Ende".as_bytes());
    client.end_input();
    assert_eq!(client.rest(), ["received: ohne Ende"], "and then the end");
    // A line that is too long is refused once, however long, and the next one is heard. One that is as long as may be is heard as a whole.
    let mut long = Client::new(TcpStream::connect(address).unwrap());
    for bytes in [4_097, 20_000] {
        long.send(&b"\xc4\xe3".repeat(bytes / 2 + 1));
        long.say("\nhere again");
        assert_eq!(long.line().as_deref(), Some("refused: a line of more than 4096 bytes; send it in several"));
        assert_eq!(long.line().as_deref(), Some("received: here again"));
    }
    long.say(&"x".repeat(4_096));
    assert_eq!(long.line(), Some(format!("received: {}", "x".repeat(4_096))));
    drop(long);
    // Many at a time, each by two threads; and one who never reads holds nobody up.
    let mut deaf = TcpStream::connect(address).unwrap();
    deaf.write_all(&b"nobody reads this\n".repeat(1_000)).unwrap();
    let mut many: Vec<Client> = (0..20).map(|_| Client::new(TcpStream::connect(address).unwrap())).collect();
    for (number, client) in many.iter_mut().enumerate() {
        client.say(&format!("I am {number}"));
    }
    for (number, client) in many.iter_mut().enumerate() {
        client.reads(&format!("received: I am {number}"));
    }
    drop((deaf, many));
    let ended = example.finish();
    ended.said(&["nobody has been there for 2 s; the end"]);
    for answers in
        ["in gbk, of which nothing was said | received: 你好 | received: in gbk", "| received: grüß dich |", "| received: привет |"]
    {
        assert!(ended.text.contains(answers), "{ended}");
    }
}

#[test]
fn cpu_or_io() {
    let example = Example::run("cpu_or_io", &[]);
    assert_eq!(example.code, Some(0), "{example}");
    // Milliseconds, those of CPU time, how many were under way, how many CPUs were at work, what was found.
    let row = |work: &str, way: &str| -> Vec<f64> {
        let words = example.text.lines().map(|line| line.split_whitespace().skip(4).collect::<Vec<_>>());
        let words =
            words.into_iter().find(|words| words.starts_with(&[work, way])).unwrap_or_else(|| panic!("no {work} {way} in {example}"));
        words[2..].iter().map(|word| word.parse().expect("a number")).collect()
    };
    let (computed, waited) = (row("computing", "serial"), row("waiting", "serial"));
    assert!(waited[0] >= 399.0 && waited[1] < computed[1], "{example}");
    assert!(computed[2] < 1.1 && waited[2] < 1.1, "one at a time: {example}");
    // All primes below 200,000, four times.
    assert_eq!((computed[4], waited[4]), (4.0 * 17_984.0, 4.0), "{example}");
    for way in ["threads", "processes"] {
        let (computing, waiting) = (row("computing", way), row("waiting", way));
        assert_eq!((computing[4], waiting[4]), (computed[4], waited[4]), "the same work: {example}");
        assert!(waiting[0] < 0.75 * waited[0] && waiting[2] > 1.3, "those who wait, wait at the same time: {example}");
        // It isn't the same to the millisecond: what others do on the machine takes cache and clock rate away.
        assert!((computed[1] / 3.0..computed[1] * 3.0).contains(&computing[1]), "no way makes the work itself less: {example}");
        assert!(waiting[1] < computing[1], "who waits needs no CPU: {example}");
    }
    // What is said last is what was measured.
    let at_work = row("computing", "threads")[3];
    let parallel = example.text.contains("threads computed in parallel, on ");
    assert!(if parallel { at_work >= 1.2 } else { at_work <= 1.2 && example.text.contains("with more than one CPU free") }, "{example}");
}

#[test]
fn a_car_that_is_killed_ends_the_wait_for_it() {
    // Until it is met while it is waited for: at another time it may be across already.
    let (car, ended) = wait_for("a car that was killed at the red light", || {
        let example = Example::start("traffic_light_event", &[]);
        // None any more, if it has ended.
        let car = (0..1_000).find_map(|_| children_of(example.pid()).first().copied());
        // A child of the example, which was not waited for a moment ago.
        car.map(|car| kill(car, Signal::SIGKILL));
        let ended = example.finish();
        (ended.code == Some(1)).then_some((car?, ended))
    });
    assert!(ended.errors.contains(&format!("pid {car}: killed by signal 9")), "{ended}");
}

#[test]
fn an_ack_server_whose_worker_ends_says_so() {
    let example = Example::start("ack_server", &[]);
    example.reads("a client of our own, pid ");
    for _ in 0..2 {
        example.reads("in utf-8");
    }
    example.reads("in windows-1251");
    let worker = children_of(example.pid())[0];
    kill(worker, Signal::SIGKILL).expect("it is there");
    let ended = example.finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.text.contains(&format!("pid {worker}: killed by signal 9")), "{ended}");
}

#[test]
fn what_cannot_be_done_is_said_in_a_sentence() {
    for (example, argument, why) in [
        ("ack_server", "127.0.0.1:nonsense", "Error: cannot listen on 127.0.0.1:nonsense: "),
        ("daemon", "nonsense", "Error: no such thing to do: nonsense; give start, stop, restart or nothing"),
    ] {
        let ended = Example::run(example, &[argument]);
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.errors.starts_with(why), "{ended}");
    }
    for name in ["daemon", "ticket_lock"] {
        let ended = in_own_group(name, "/nowhere/at all".as_ref()).wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with(&format!("Error: cannot make the directory /nowhere/at all/forkchat-example-{name}-")), "{errors}");
    }
}

/// An example as a terminal runs it: its processes are a group, to which Ctrl-C goes. Its scratch files go to `directory`.
fn in_own_group(name: &'static str, directory: &std::path::Path) -> std::process::Child {
    let test = std::env::current_exe().expect("a test has a path");
    let program = test.parent().and_then(std::path::Path::parent).expect("tests lie in target/PROFILE/deps").join("examples").join(name);
    let mut command = Command::new(program);
    command.process_group(0).env("TMPDIR", directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the example starts")
}

/// Whether anybody in a process group runs. When init takes a zombie away is init's business. Source: proc_pid_stat(5), `state` and `pgrp`.
fn runs_in(group: Pid) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        matches!(fields[..], [state, _, of, ..] if state != "Z" && of == group.to_string())
    })
}

/// A signal comes so many milliseconds after the directory was made (0: after the start), to the group or to the first process alone. Whenever it
/// comes, nothing is left.
fn interrupted(name: &'static str, moments_ms: &[u64]) {
    // Built by that, and nothing is left of it, either.
    let whole = Example::run(name, &[]);
    assert_eq!(whole.code, Some(0), "{whole}");
    let mut interrupted = 0;
    for (number, &moment) in moments_ms.iter().enumerate() {
        let directory = std::env::temp_dir().join(format!("forkchat-interrupted-{name}-{}-{number}", std::process::id()));
        fs::create_dir(&directory).expect("a directory of its own");
        let mut child = in_own_group(name, &directory);
        let group = Pid::from_raw(child.id() as i32);
        if moment > 0 {
            // Or its end, without taking the zombie away, whose number nobody else has as long as it is there.
            let has_ended =
                || waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG) != Ok(WaitStatus::StillAlive);
            wait_for("its directory", || (fs::read_dir(&directory).unwrap().next().is_some() || has_ended()).then_some(()));
            std::thread::sleep(std::time::Duration::from_millis(moment));
        }
        // It may have ended, but was not waited for.
        let _ = if number % 2 == 0 { killpg(group, Signal::SIGINT) } else { kill(group, Signal::SIGTERM) };
        let status = wait_for("its end", || child.try_wait().expect("it can be waited for"));
        wait_for("the end of all", || (!runs_in(group)).then_some(()));
        let left: Vec<_> = fs::read_dir(&directory).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?} after {moment} ms");
        fs::remove_dir(&directory).unwrap();
        // Ended before it began, ended as it was told, or done already.
        assert!(matches!((status.code(), status.signal()), (None, Some(2 | 15)) | (Some(130 | 143 | 0), None)), "{status}");
        interrupted += usize::from(matches!(status.code(), Some(130 | 143)));
    }
    assert!(interrupted > 0, "at none of {moments_ms:?} ms was {name} at work");
}

#[test]
fn ctrl_c_leaves_nothing_of_ticket_lock() {
    interrupted("ticket_lock", &[0, 1, 2, 0, 4, 5, 8, 12, 20, 30, 45, 55, 70, 90]);
}

#[test]
fn ctrl_c_leaves_nothing_of_the_daemons_starter() {
    interrupted("daemon", &[0, 1, 2, 0, 4, 5, 6, 8, 10, 15, 100, 200, 300, 310]);
}
