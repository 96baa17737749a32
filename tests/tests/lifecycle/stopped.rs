//! Workers and threads that are stopped or hang: the supervisor or its watchdog replaces the
//! worker.

use super::*;

#[test]
fn a_stopped_worker_is_replaced_at_once() {
    let server = Server::start(&[]);
    let [mut victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    kill(worker, Signal::SIGSTOP).unwrap();
    victim.say("still here");
    witness.reads("a: still here");
    // The log output must not say that the worker did nothing for 2 s.
    server.logs(&format!("worker 0 (pid {worker}) was stopped; killing it"));
    server.replaced("worker 0", worker);
}

#[test]
fn a_server_whose_process_group_is_stopped_continues_with_it() {
    // The server leads a process group. Ctrl-Z stops and `fg` continues the whole group.
    let server = Server::start_limited(Some("UNDER=setsid"), &[]);
    let [mut a, mut b] = one_on_each(&server);
    let family = family_of(server.pid());
    for round in 0..10 {
        killpg(server.pid(), Signal::SIGSTOP).unwrap();
        wait_for("everyone to stand still", || {
            family.iter().all(|&pid| is_stopped(pid)).then_some(())
        });
        killpg(server.pid(), Signal::SIGCONT).unwrap();
        a.say(&format!("round {round}"));
        b.reads(&format!("a: round {round}"));
    }
    assert_eq!(family_of(server.pid()), family, "{}", server.log_output());
}

#[test]
fn workers_stopped_repeatedly_in_full_traffic_are_replaced() {
    // The witness does not read while the test waits for a successor, so its output needs much
    // room.
    let server = Server::start(&["--rate-limit", "off", "--sendq", "1G"]);
    let [victim, mut witness] = one_on_each(&server);
    let mut flood = victim.stream().try_clone().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = is_over.clone();
    let flooding = std::thread::spawn(move || {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            std::io::Write::write_all(&mut flood, format!("flood {number}\n").as_bytes()).unwrap();
            number += 1;
        }
        number
    });
    let mut next = 0;
    let mut count_on = |lines: Vec<String>| {
        for line in lines.iter().filter(|line| line.contains("flood")) {
            assert_eq!(line, &format!("[#lobby] a: flood {next}"));
            next += 1;
        }
    };
    for _ in 0..15 {
        count_on(witness.reads("flood"));
        let worker = server.process("worker 0");
        kill(worker, Signal::SIGSTOP).unwrap();
        server.replaced("worker 0", worker);
        count_on(witness.sync());
    }
    is_over.store(true, Ordering::Relaxed);
    // The witness reads, so that the rest of the flood arrives.
    let reading = std::thread::spawn(move || {
        let lines = witness.reads("* a quit");
        (witness, lines)
    });
    let said = flooding.join().unwrap();
    victim.stream().shutdown(std::net::Shutdown::Write).unwrap();
    count_on(reading.join().unwrap().1);
    assert_eq!(next, said);
}

/// The offset of the lock's owner in the log's section of the segment: a number that isn't 0 while
/// the lock is held.
const LOCK_OWNER_OFFSET: u64 = 80;
/// The log's section in the segment's inventory, and where the inventory is: 40 entries of kind,
/// offset and length.
const LOG_KIND: u64 = 6;
const INVENTORY: std::ops::Range<usize> = 64..1_024;

fn lock_owner(server: &Server) -> impl Fn() -> u32 + use<> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
    let line = maps.lines().find(|line| line.contains("memfd:forkchat-segment")).unwrap();
    let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    let memory = File::open(format!("/proc/{}/mem", server.pid())).unwrap();
    let mut header = [0; INVENTORY.end];
    memory.read_exact_at(&mut header, start).unwrap();
    let words: Vec<u64> = header[INVENTORY]
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .collect();
    let log = words.chunks_exact(3).find(|entry| entry[0] == LOG_KIND).unwrap()[1];
    move || {
        let mut bytes = [0; 4];
        memory.read_exact_at(&mut bytes, start + log + LOCK_OWNER_OFFSET).unwrap();
        u32::from_ne_bytes(bytes)
    }
}

/// Stops threads as a tracer does, which no other process is notified of, until they are killed.
///
/// A tracer is a thread. So `act` and the wait for the end of the threads run in one thread of
/// their own. Returns when `act` is done.
fn trace(
    threads: Vec<Pid>,
    act: impl FnOnce(&[Pid]) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let (done, is_done) = std::sync::mpsc::channel();
    let tracer = std::thread::spawn(move || {
        for &thread in &threads {
            ptrace::seize(thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(thread).unwrap();
            wait_stopped(thread);
        }
        act(&threads);
        done.send(()).unwrap();
        // A killed thread has not ended for others before its tracer has seen its end. A process's
        // first thread is seen last.
        for &thread in threads.iter().rev() {
            while !matches!(
                waitpid(thread, Some(WaitPidFlag::__WALL)),
                Err(_) | Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..))
            ) {}
        }
    });
    is_done.recv_timeout(DEADLINE).expect("the threads are stopped where they should be");
    tracer
}

fn wait_stopped(thread: Pid) {
    match waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap() {
        WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => {}
        other => panic!("{thread} was to stop, and it is {other:?}"),
    }
}

fn send_thread_of(worker: Pid) -> Pid {
    wait_for("the send thread", || {
        threads_of(worker).into_iter().find(|&thread| name_of(thread).starts_with("send "))
    })
}

/// Lets the client send lines all the time, and stops its worker's send thread at random until it
/// holds the log's lock.
fn stop_in_the_lock(owner: impl Fn() -> u32, thread: Pid, client: &Client) {
    let mut stream = client.stream().try_clone().unwrap();
    std::thread::spawn(move || {
        while std::io::Write::write_all(&mut stream, b"never heard, or heard\n").is_ok() {}
    });
    let deadline = Instant::now() + DEADLINE;
    // Worker 0 is in slot 1, and the owner is stored as its slot plus 1.
    while owner() != 2 {
        assert!(Instant::now() < deadline, "one who writes holds the lock now and then");
        ptrace::cont(thread, None).unwrap();
        std::thread::yield_now();
        ptrace::interrupt(thread).unwrap();
        wait_stopped(thread);
    }
}

#[test]
fn a_worker_stopped_while_it_holds_the_logs_lock_is_replaced_at_once() {
    // The witness does not read while the other worker waits for the lock, so its output needs much
    // room.
    let server = Server::start(&["--rate-limit", "off", "--sendq", "1G"]);
    let [victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    let owner = lock_owner(&server);
    let tracer = trace(vec![send_thread_of(worker)], move |threads| {
        stop_in_the_lock(owner, threads[0], &victim);
        // The thread stops as soon as its tracer detaches.
        kill(worker, Signal::SIGSTOP).unwrap();
        ptrace::detach(threads[0], None).unwrap();
    });
    witness.say("the others go on");
    witness.sync();
    server.replaced("worker 0", worker);
    // The log output must not say that the worker held the lock for 2 s.
    server.logs("was stopped; killing it");
    tracer.join().unwrap();
}

#[test]
fn a_worker_that_hangs_with_the_logs_lock_is_found_by_the_watchdog() {
    // The witness does not read while the other worker waits for the lock, so its output needs much
    // room.
    let server = Server::start(&["--rate-limit", "off", "--sendq", "1G"]);
    let [victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    let owner = lock_owner(&server);
    let tracer = trace(vec![send_thread_of(worker)], move |threads| {
        stop_in_the_lock(owner, threads[0], &victim)
    });
    witness.say("the others go on");
    witness.sync();
    // The watchdog names either the lock or the turn that the worker does not finish.
    server.logs(&format!("worker 0 (pid {worker}) "));
    server.logs(" for 2 s; killing it");
    server.replaced("worker 0", worker);
    tracer.join().unwrap();
}

#[test]
fn a_worker_that_reads_nothing_is_found_by_the_watchdog() {
    let server = Server::start(&[]);
    let [mut victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    let tracer = trace(threads_of(worker), |_| ());
    witness.say("news for it");
    assert_eq!(victim.reads("news"), ["[#lobby] b: news for it"]);
    server.logs(&format!("worker 0 (pid {worker}) read nothing of the log for 2 s; killing it"));
    server.replaced("worker 0", worker);
    tracer.join().unwrap();
}

#[test]
fn a_stopped_thread_of_an_idle_worker_is_found_by_the_watchdog() {
    for (model, threads) in [
        ("pool", ["receive ", "send "]),
        ("process", ["receive ", "send "]),
        ("threads", ["worker ", "worker "]),
    ] {
        for thread in threads {
            let server = Server::start(&["--model", model]);
            let mut victim = server.join("victim");
            let worker = server.process(&victim.worker());
            victim.sync();
            let frozen = wait_for("the thread", || {
                threads_of(worker).into_iter().find(|&other| name_of(other).starts_with(thread))
            });
            wait_for("the worker to sleep", || {
                threads_of(worker)
                    .into_iter()
                    .all(|thread| state_of(thread) == Some('S'))
                    .then_some(())
            });
            let tracer = trace(vec![frozen], |_| ());
            // The message differs if the thread was just about to do something.
            let found = || {
                server.log_output().lines().any(|line| {
                    line.contains(&format!("(pid {worker}) "))
                        && line.ends_with(" for 2 s; killing it")
                })
            };
            wait_for(&format!("{thread}of {model} to be found"), || found().then_some(()));
            // The successor answers what the client sends now, or sent meanwhile.
            victim.sync();
            tracer.join().unwrap();
        }
    }
}
