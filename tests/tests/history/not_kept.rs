use super::*;

#[test]
fn a_server_without_a_data_directory_keeps_nothing_and_stops_in_order() {
    // Drops the harness's `--data-dir DIR`, too.
    let no_directory = Some("unset HOME XDG_STATE_HOME && shift 2");
    let mut server = Server::start_limited(no_directory, &["--rate-limit", "off", "--grace", "5"]);
    server.logs("no history is kept: neither XDG_STATE_HOME nor HOME is set");
    let mut a = server.join("a");
    // The storing thread once spun from the thousandth line on, and never finished.
    for number in 0..1_500 {
        a.say(&format!("line {number}"));
    }
    a.sync();
    a.say("/history 5");
    assert_eq!(a.reads("no earlier lines").len(), 1);
    let journal = server.process("journal");
    wait_for("the journal to rest", || {
        let before = cpu_of(journal);
        std::thread::sleep(Duration::from_millis(500));
        (cpu_of(journal) - before < Duration::from_millis(100)).then_some(())
    });
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
    assert!(!server.log_output().contains("could be stored"), "{}", server.log_output());
}
