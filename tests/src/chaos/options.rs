//! The command line of the chaos test.

use super::killer::KillKind;
use crate::load::shape::{BYTES_MAX, BYTES_MIN};
use crate::load::subprocess::server_program;
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Kills processes of a chat server under full load and checks that no client notices
#[derive(Clone, Debug, Parser)]
#[command(name = "forkchat-chaos", version, max_term_width = 110, after_help = EPILOGUE)]
pub struct Options {
    /// Duration of the traffic
    #[arg(long, value_name = "S", default_value = "60", value_parser = parse_seconds)]
    pub seconds: Duration,

    /// Determines the kills and what the clients do [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Maximum number of kills; 0 for none
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub kills: u64,

    /// Average time between kills
    #[arg(long, value_name = "MS", default_value = "150", value_parser = parse_millis)]
    pub every: Duration,

    /// Kinds of kills, see below, equally often [default: all, most often worker]
    #[arg(
        long,
        value_name = "WAY,…",
        value_delimiter = ',',
        value_enum,
        hide_possible_values = true
    )]
    pub only: Vec<KillKind>,

    /// Switch between full speed and --rate this often; 0 for full speed only
    #[arg(long, value_name = "S", default_value = "3", value_parser = parse_seconds_or_none)]
    pub phase: Duration,

    /// Lines per second of all clients together when not at full speed
    #[arg(long, value_name = "LINES", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,

    /// Lines in flight per sender at full speed
    #[arg(long, value_name = "LINES", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub window: u32,

    /// TCP clients, all rooms together
    #[arg(long, value_name = "N", default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u32).range(4..=10_000))]
    pub clients: u32,

    /// UDP clients, all rooms together
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub udp_clients: u32,

    /// Number of rooms
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rooms: u32,

    /// TCP clients per room that send all the time
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub senders: u32,

    /// Length of a line with its LF
    #[arg(long, value_name = "N", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(BYTES_MIN as i64..=BYTES_MAX as i64))]
    pub bytes: u32,

    /// Concurrency model of the server
    #[arg(long, value_name = "MODEL", default_value = "pool")]
    #[arg(value_parser = ["pool", "threads", "process"])]
    pub model: String,

    /// Workers of the server, except with --model process
    #[arg(long, value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,

    /// Binary of the server [default: forkchat-server beside this program]
    #[arg(long, value_name = "FILE")]
    pub server: Option<PathBuf>,

    /// Print a JSON object instead of the table
    #[arg(long)]
    pub json: bool,

    /// Options for the server, and NAME=VALUE for its environment
    #[arg(last = true, value_name = "SERVER OPTIONS")]
    pub server_arguments: Vec<String>,
}

const EPILOGUE: &str = "\
The test starts its own server on free loopback ports and connects clients of all kinds: with and without
tags and echo, in two charsets, slow readers, visitors that come and go, lines sent whole, in bursts, in
parts, and lines that are too long. Meanwhile it kills workers and the journal, never the supervisor. It
checks every byte that each client receives: no connection may be dropped, no line lost, doubled,
reordered, changed, or delivered to one client differently than to another.

Kinds of kills:  worker       one worker, by SIGKILL        journal   the journal, by SIGKILL
                 all-workers  all workers at once           stopped   one worker, by SIGSTOP
                 successor    a worker, then its successor  crashed   one worker, by SIGSEGV
Over UDP, lost and doubled lines are counted but allowed. \"Differing\" lines reached one member of a room
with other content or in another order than the rest. A pause lasts from a kill to the first line sent
after it; pauses after SIGSTOP, SIGSEGV or a second kill have their own row. A server with a small --ring
drops slow readers when their worker dies; that is correct.
Exit codes: 0 no fault found, 1 faults found or the test could not run, 2 wrong command line.

Examples:
  forkchat-chaos --seed 7                          repeat the run with this seed
  forkchat-chaos --kills 0 --seconds 10            no kills: nothing may be wrong
  forkchat-chaos --only successor,stopped          only the hardest kinds
  forkchat-chaos --model process --clients 60      a server with one process per connection
  forkchat-chaos --seconds 10 -- --ring 4M -v      a small event log, verbose log output";

impl Options {
    /// The number of workers that the server always has.
    pub fn standing_workers(&self) -> u16 {
        if self.model == "process" { 1 } else { self.workers }
    }

    /// The server's binary.
    pub fn server(&self) -> Result<PathBuf, String> {
        server_program(self.server.as_deref(), "tests/chaos.sh")
    }

    /// The options for the server's command line.
    pub fn server_options(&self) -> impl Iterator<Item = &String> {
        self.server_arguments.iter().filter(|argument| variable(argument).is_none())
    }

    /// The variables for the server's environment.
    pub fn server_environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.server_arguments.iter().filter_map(|argument| variable(argument))
    }

    /// The number of TCP clients in a room. They are spread evenly; the first rooms have one more.
    pub fn members_of(&self, room: u32) -> u32 {
        self.clients / self.rooms + u32::from(room < self.clients % self.rooms)
    }

    /// Checks that the options fit together.
    pub fn check(&self) -> Result<(), String> {
        let needed = self.senders + 1;
        if self.members_of(self.rooms - 1) < needed {
            let all = needed * self.rooms;
            return Err(format!(
                "each room needs a client that only listens: give --clients {all} or more, fewer \
                 --senders, or fewer --rooms"
            ));
        }
        Ok(())
    }
}

/// Splits `NAME=VALUE` if NAME is in capitals, as environment variables are.
fn variable(argument: &str) -> Option<(&str, &str)> {
    let (name, value) = argument.split_once('=')?;
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    is_name.then_some((name, value))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give 0.1 to 86400 seconds".into())
}

fn parse_seconds_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { parse_seconds(text) }
}

fn parse_millis(text: &str) -> Result<Duration, String> {
    let millis = text.parse::<u64>().ok().filter(|millis| (1..=600_000).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "give 1 to 600000 ms".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
        let options = Options::parse_from([
            "forkchat-chaos",
            "--",
            "--ring",
            "1M",
            "FORKCHAT_FAULT=read-first",
            "--x=1",
        ]);
        assert_eq!(options.server_options().collect::<Vec<_>>(), ["--ring", "1M", "--x=1"]);
        assert_eq!(
            options.server_environment().collect::<Vec<_>>(),
            [("FORKCHAT_FAULT", "read-first")]
        );
        assert!(options.check().is_ok());
        assert!(
            Options::parse_from(["forkchat-chaos", "--clients", "39"])
                .check()
                .unwrap_err()
                .contains("--clients 40")
        );
    }
}
