//! The command line.

use crate::chat::RateLimit;
use crate::sys::scheduling::Policy;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// A chat server whose worker processes share one event log in memory; connect with `nc HOST PORT`
#[derive(Clone, Debug, Parser)]
#[command(name = "forkchat-server", version, max_term_width = 110, after_help = EPILOGUE)]
#[command(args_override_self = true)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct CommandLine {
    /// What to do instead of serving in the foreground
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to serve.
    #[command(flatten)]
    pub options: Options,
}

/// What the program does instead of serving in the foreground.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Test what forkchat needs from this kernel and report which guarantees hold
    Doctor,
    /// Start a server in the background; returns when it is ready
    #[command(args_override_self = true)]
    Start(Box<ServiceOptions>),
    /// Stop the server in the background; returns when it has ended
    #[command(args_override_self = true, after_help = STOP_EPILOGUE)]
    #[command(mut_args(hide_what_stop_ignores))]
    Stop(Box<ServiceOptions>),
    /// Stop the server in the background, if one is running, and start a new one
    #[command(args_override_self = true)]
    Restart(Box<ServiceOptions>),
    /// Print whether a server is running, its pid and its addresses
    #[command(args_override_self = true, after_help = STATUS_EPILOGUE)]
    #[command(mut_args(hide_what_status_ignores))]
    Status(Box<ServiceOptions>),
}

/// How a server in the background serves, and where its files are.
#[derive(Clone, Debug, Args)]
pub struct ServiceOptions {
    /// Identifies the server [default: forkchat.pid in the data directory]
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Log output [default: forkchat.log in the data directory]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// How it serves.
    #[command(flatten)]
    pub serving: Options,
}

/// How the server serves.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// TCP addresses, separated by commas
    #[arg(long, value_name = "ADDR,…|off", default_value = DEFAULT_ADDRESS)]
    #[arg(value_parser = parse_address, value_delimiter = ',', action = ArgAction::Append)]
    pub tcp: Vec<Listen>,

    /// UDP address
    #[arg(long, value_name = "ADDR|off", default_value = DEFAULT_ADDRESS)]
    #[arg(value_parser = parse_address, value_delimiter = ',', action = ArgAction::Append)]
    pub udp: Vec<Listen>,

    /// Concurrency model: pool, threads or process
    #[arg(long, value_name = "MODEL", value_enum, default_value_t = ModelName::Pool)]
    #[arg(hide_possible_values = true)]
    pub model: ModelName,

    /// Worker processes, except with --model process [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// Connections at a time [default: what memory and ulimits allow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub max_connections: Option<u32>,

    /// Connections from one address [default: 64, loopback unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_address: Option<u32>,

    /// Lines per second and session, after a burst of 512
    #[arg(long, value_name = "LINES|off", default_value = "20", value_parser = parse_rate)]
    pub rate_limit: RateLimit,

    /// Unread bytes at which a slow client is disconnected
    #[arg(long, value_name = "BYTES", default_value = "1M", value_parser = parse_sendq)]
    pub sendq: usize,

    /// Size of the event log in memory [default: 64M, or what fits]
    #[arg(long, value_name = "BYTES", value_parser = parse_ring)]
    pub ring: Option<usize>,

    /// Time for clients at a stop to read their last lines
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub grace: u16,

    /// Data directory [default: forkchat in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Lines to store for all rooms, at least 1000
    #[arg(long, value_name = "LINES|off", default_value = "1000000", value_parser = parse_history)]
    pub history: u64,

    /// Bytes that the stored lines may take, at least 1M
    #[arg(long, value_name = "BYTES", default_value = "256M", value_parser = parse_history_bytes)]
    pub history_bytes: u64,

    /// Nice value of all processes, -20 to 19 [default: inherited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i8).range(-20..=19))]
    #[arg(allow_negative_numbers = true)]
    pub nice: Option<i8>,

    /// Scheduling policy: other, batch, idle, rr, fifo [default: inherited]
    #[arg(long, value_name = "POLICY", value_parser = parse_policy(), hide_possible_values = true)]
    pub sched: Option<Policy>,

    /// Pin each worker to one CPU
    #[arg(long, action = ArgAction::SetTrue)]
    pub pin: bool,

    /// Log more
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub verbose: bool,
}

const EPILOGUE: &str = "\
ADDR is HOST:PORT; port 0 takes a free port. BYTES may end in K, M or G.
Models: pool     one worker per CPU, two threads per worker
        threads  one worker per CPU, two threads per connection
        process  one process per connection
Signals: TERM, INT and HUP stop the server gracefully, a second one stops it at once.
Exit codes: 0 stopped, 1 could not serve or stopped at once, 2 wrong command line,
            4 stopped, but some lines could not be stored
  start, restart: 0 running, 1 and 2 as above, 3 a server was already running
  stop:           0 no server is running, 1 killed, not stopped, or in the foreground
  status:         0 running, 3 not running, 4 unknown
  doctor:         0 all guarantees hold, 1 some do not

Examples:
  forkchat-server                                serve this machine on port 9000
  forkchat-server --tcp 0.0.0.0:7000 --udp off   serve all hosts, TCP only
  forkchat-server restart --grace 10             start in the background, or restart
  forkchat-server doctor                         test this kernel
  nc 127.0.0.1 9000                              connect and chat";

const STOP_EPILOGUE: &str = "\
Also accepts the options of start, so that a script can pass the same ones, and ignores them.
If the server still runs 5 s after --grace, it is killed.";

const STATUS_EPILOGUE: &str = "\
Also accepts the options of start, so that a script can pass the same ones, and ignores them.
Exit codes: 0 running, 3 not running, 4 unknown";

/// The default address to listen on.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9000";

/// A concurrency model. Its row in `models` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelName {
    /// A worker a CPU, each with one receive and one send thread for all its connections
    Pool,
    /// A worker a CPU; each connection has a receive and a send thread of its own, which block
    Threads,
    /// A process for each connection, forked when it comes; --workers is ignored
    Process,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// A value of an option that names addresses to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// The addresses of a host, at least one, all with the same port.
    On(Vec<SocketAddr>),
    /// Nowhere.
    Off,
}

impl Options {
    /// `--workers`, or else one per CPU.
    pub fn workers(&self) -> u16 {
        let cpus =
            || std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(256) as u16);
        self.workers.unwrap_or_else(cpus)
    }

    /// The data directory: `--data-dir`, or the directory for a user's state according to the XDG
    /// Base Directory Specification. `None` if the user has no home directory.
    pub fn data_dir(&self) -> Option<PathBuf> {
        let absolute =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state =
            || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        self.data_dir.clone().or_else(|| Some(state()?.join("forkchat")))
    }
}

fn hide_what_stop_ignores(argument: Arg) -> Arg {
    hide_all_but(argument, &["pid_file", "data_dir", "grace", "help"])
}

fn hide_what_status_ignores(argument: Arg) -> Arg {
    hide_all_but(argument, &["pid_file", "data_dir", "help"])
}

fn hide_all_but(argument: Arg, shown: &[&str]) -> Arg {
    let matters = shown.contains(&argument.get_id().as_str());
    argument.hide(!matters)
}

fn parse_policy() -> impl TypedValueParser<Value = Policy> {
    let named = |name: String| Policy::ALL.into_iter().find(|policy| policy.name() == name);
    // The parser accepts only names of policies.
    PossibleValuesParser::new(Policy::ALL.map(Policy::name))
        .map(move |name| named(name).unwrap_or(Policy::Other))
}

fn parse_address(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    let addresses = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; give HOST:PORT, as in 127.0.0.1:9000, or off"))?;
    let mut addresses: Vec<SocketAddr> = addresses.collect();
    addresses.dedup();
    if addresses.is_empty() {
        Err("this name has no address".to_owned())
    } else {
        Ok(Listen::On(addresses))
    }
}

fn parse_rate(text: &str) -> Result<RateLimit, String> {
    match text.parse() {
        _ if text == "off" => Ok(RateLimit::OFF),
        Ok(lines @ 1..=1_000_000) => Ok(RateLimit::lines_per_second(lines)),
        _ => Err("give 1 to 1000000 lines a second, or off".to_owned()),
    }
}

/// The number of lines; `off` is 0.
fn parse_history(text: &str) -> Result<u64, String> {
    match text.parse() {
        _ if text == "off" => Ok(0),
        Ok(lines @ 1_000..=1_000_000_000) => Ok(lines),
        _ => Err("give 1000 to 1000000000 lines, or off".to_owned()),
    }
}

fn parse_history_bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text, 1 << 20, 1 << 40).map(|bytes| bytes as u64)
}

fn parse_bytes(text: &str, smallest: usize, largest: usize) -> Result<usize, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&text[..end], 1 << 10),
        Some((end, 'm' | 'M')) => (&text[..end], 1 << 20),
        Some((end, 'g' | 'G')) => (&text[..end], 1 << 30),
        _ => (text, 1),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|bytes| (smallest..=largest).contains(bytes))
        .ok_or_else(|| format!("give {smallest} to {largest} bytes, as in 64M"))
}

fn parse_ring(text: &str) -> Result<usize, String> {
    parse_bytes(text, crate::segment::RING_BYTES_MIN, crate::segment::RING_BYTES_MAX)
}

fn parse_sendq(text: &str) -> Result<usize, String> {
    parse_bytes(text, 64 << 10, 1 << 30)
}

#[cfg(test)]
mod tests;
