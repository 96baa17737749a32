use super::*;

#[test]
fn the_command_line_is_consistent_and_has_the_documented_defaults() {
    use clap::CommandFactory;
    CommandLine::command().debug_assert();
    let CommandLine { command, options } = CommandLine::parse_from(["forkchat-server"]);
    assert_eq!(options.tcp, [on([127, 0, 0, 1])]);
    assert_eq!(
        (options.sendq, options.ring, options.grace, options.rate_limit),
        (1 << 20, None, 5, RateLimit::lines_per_second(20))
    );
    assert_eq!((options.history, options.history_bytes), (1_000_000, 256 << 20));
    assert!(options.workers() >= 1);
    assert_eq!((options.nice, options.sched, options.pin), (None, None, false));
    assert!(command.is_none());
}

#[test]
fn help_has_a_line_for_each_option() {
    let help = CommandLine::try_parse_from(["forkchat-server", "--help"]).unwrap_err().to_string();
    assert!(help.lines().count() <= 60, "{} lines:\n{help}", help.lines().count());
    for line in help.lines() {
        assert!(line.chars().count() <= 110, "too wide: {line}");
    }
}

fn on(ip: impl Into<std::net::IpAddr>) -> Listen {
    Listen::On(vec![(ip.into(), 9000).into()])
}

#[test]
fn addresses_to_listen_on_add_up_and_replace_the_default() {
    let options = CommandLine::parse_from([
        "",
        "--tcp",
        "127.0.0.2:9000,[::1]:9000",
        "--udp",
        "off",
        "--tcp",
        "127.0.0.3:9000",
    ])
    .options;
    assert_eq!(
        options.tcp,
        [on([127, 0, 0, 2]), on([0u16, 0, 0, 0, 0, 0, 0, 1]), on([127, 0, 0, 3])]
    );
    assert_eq!(options.udp, [Listen::Off]);
}

#[test]
fn a_command_excludes_the_options_of_serving() {
    assert!(matches!(CommandLine::parse_from(["", "doctor"]).command, Some(Command::Doctor)));
    assert!(CommandLine::try_parse_from(["", "--tcp", "off", "doctor"]).is_err());
    assert!(CommandLine::try_parse_from(["", "doctor", "--tcp", "off"]).is_err());
}

#[test]
fn a_service_accepts_the_servers_options_and_the_paths_of_its_files() {
    for name in ["start", "stop", "restart", "status"] {
        let line = [
            "",
            name,
            "--tcp",
            "off",
            "--pid-file",
            "p",
            "--grace",
            "7",
            "--log",
            "l",
            "--grace",
            "9",
        ];
        let command = CommandLine::parse_from(line).command;
        let Some(
            Command::Start(options)
            | Command::Stop(options)
            | Command::Restart(options)
            | Command::Status(options),
        ) = command
        else {
            panic!("{command:?} of {name}")
        };
        assert_eq!((options.serving.tcp, options.serving.grace), (vec![Listen::Off], 9));
        assert_eq!((options.pid_file, options.log), (Some("p".into()), Some("l".into())));
    }
    // A server in the foreground needs neither option.
    assert!(CommandLine::try_parse_from(["", "--pid-file", "p"]).is_err());
}

#[test]
fn scheduling_options_accept_policy_names_and_negative_numbers() {
    let options = CommandLine::parse_from(["", "--nice", "-5", "--sched", "rr", "--pin"]).options;
    assert_eq!(
        (options.nice, options.sched, options.pin),
        (Some(-5), Some(Policy::RoundRobin), true)
    );
    for policy in Policy::ALL {
        assert_eq!(
            CommandLine::parse_from(["", "--sched", policy.name()]).options.sched,
            Some(policy)
        );
    }
    assert_eq!(CommandLine::parse_from(["", "--nice=-20", "--nice", "19"]).options.nice, Some(19));
}

#[test]
fn an_error_names_the_option_and_its_value() {
    for arguments in [
        ["--nice", "-21"],
        ["--nice", "20"],
        ["--sched", "deadline"],
        ["--ring", "10"],
        ["--tcp", "nowhere"],
        ["--rate-limit", "0"],
        ["--workers", "0"],
        ["--sendq", "1T"],
        ["--history-bytes", "1K"],
        ["--history-bytes", "off"],
    ] {
        let error = CommandLine::try_parse_from(["forkchat-server"].iter().chain(&arguments))
            .unwrap_err()
            .to_string();
        assert!(error.contains(arguments[0]) && error.contains(arguments[1]), "{error}");
    }
    assert_eq!(
        CommandLine::parse_from(["", "--ring", "2m", "--udp", "off"]).options.ring,
        Some(2 << 20)
    );
}
