//! The command line.

use super::broadcaster::Fault;
use super::chat_protocol::ChatProtocol;
use super::shape::{BYTES_MAX, BYTES_MIN, PRESETS, Shape, Traffic};
use super::subject::Model;
use super::subprocess::server_program;
use clap::{ArgGroup, Parser};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// Puts a chat server under load and checks every line that a client receives: none may be lost,
/// doubled, reordered or changed.
#[derive(Clone, Debug, Parser)]
#[command(name = "forkchat-load", version, max_term_width = 110, after_help = epilogue())]
#[command(group = ArgGroup::new("traffic").args(["window", "rate", "storm", "quiet"]))]
#[command(group = ArgGroup::new("output").args(["json", "csv"]))]
pub struct Options {
    /// Rows of the table, in this order [default: all, or one room of 100 if a shape is given]
    #[arg(value_name = "PRESET", value_parser = parse_preset)]
    pub presets: Vec<Shape>,

    /// A short run: one second per row, about 20 seconds in all; with --models about one and a half
    /// minutes
    #[arg(long, conflicts_with = "seconds")]
    pub quick: bool,

    /// Put the same load to a bare broadcaster, too: how many times its CPU time does a chat cost?
    #[arg(long, conflicts_with_all = ["addr", "fault"])]
    pub baseline: bool,

    /// Compare the server's models with several numbers of connections, and write a report that
    /// says which to choose
    #[arg(long, value_name = "MODEL,…", num_args = 0..=1, require_equals = true)]
    #[arg(value_delimiter = ',', help_heading = "Models")]
    #[arg(default_missing_values = ["pool", "threads", "process"])]
    #[arg(conflicts_with_all = NOT_WITH_MODELS)]
    pub models: Option<Vec<Model>>,

    /// Numbers of connections to measure [default: 10,100,1000,5000, with --quick 10,100,300]
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        requires = "models",
        help_heading = "Models"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub sizes: Vec<u32>,

    /// The file for the report, as HTML [default: forkchat-models.html]
    #[arg(long, value_name = "FILE", requires = "models", help_heading = "Models")]
    pub report: Option<PathBuf>,

    /// Clients in rooms, all rooms together
    #[arg(long, value_name = "N", help_heading = "Shape")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub clients: Option<u32>,

    /// Number of rooms
    #[arg(long, value_name = "N", help_heading = "Shape")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rooms: Option<u32>,

    /// Members of each room that speak
    #[arg(long, value_name = "N", help_heading = "Shape")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub senders: Option<u32>,

    /// Length of a line in bytes, with its LF
    #[arg(long, value_name = "N", help_heading = "Shape")]
    #[arg(value_parser = clap::value_parser!(u32).range(BYTES_MIN as i64..=BYTES_MAX as i64))]
    pub bytes: Option<u32>,

    /// Closed loop: each sender keeps this many lines in flight, until all members have read them
    #[arg(long, value_name = "LINES", help_heading = "Shape")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub window: Option<u32>,

    /// Open loop: this many lines per second in all, on time; latency counts from when a line was
    /// due
    #[arg(long, value_name = "LINES", value_parser = parse_per_second, help_heading = "Shape")]
    pub rate: Option<f64>,

    /// All clients connect, log in and leave, over and over
    #[arg(long, help_heading = "Shape")]
    pub storm: bool,

    /// The clients say nothing: what does an idle server cost?
    #[arg(long, help_heading = "Shape")]
    pub quiet: bool,

    /// More connections, which do nothing
    #[arg(long, value_name = "N", help_heading = "Shape")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub idle: Option<u32>,

    /// More clients that come and go: this many per second, each for half a second
    #[arg(long, value_name = "N", value_parser = parse_per_second, help_heading = "Shape")]
    pub churn: Option<f64>,

    /// Use UDP
    #[arg(long, help_heading = "Shape")]
    pub udp: bool,

    /// Seconds under load for each row and each side of it [default: 10, with --models 3, in three
    /// samples]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub seconds: Option<Duration>,

    /// The server's number of workers; several numbers measure each row with each [default: the
    /// server's own]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Vec<u16>,

    /// Use a server that runs already, best with --rate-limit off; its CPU time and memory are not
    /// measured
    #[arg(long, value_name = "HOST:PORT")]
    #[arg(value_parser = parse_address)]
    #[arg(conflicts_with_all = ["workers", "server", "server_arguments"])]
    pub addr: Option<SocketAddr>,

    /// Put the same load to another chat server that runs already, too; with :irc at the end in
    /// IRC; best without its rate limit or flood protection
    #[arg(long, value_name = "HOST:PORT[:irc]", value_parser = parse_compared)]
    pub compare: Option<ComparedServer>,

    /// Put the load to the bare broadcaster, and let it make faults: lose, double, swap, corrupt,
    /// stray or stall
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    #[arg(conflicts_with_all = ["addr", "workers"])]
    pub fault: Option<Fault>,

    /// The server's program [default: forkchat-server in the directory of this program]
    #[arg(long, value_name = "FILE")]
    pub server: Option<PathBuf>,

    /// Print one JSON object per row instead of the table
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print comma-separated values instead of the table
    #[arg(long, help_heading = "Output")]
    pub csv: bool,

    /// Write each row's latencies, in ms, as HdrHistogram text to DIR/01-ROW.hgrm
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub histograms: Option<PathBuf>,

    /// Options for the server
    #[arg(last = true, value_name = "SERVER OPTIONS")]
    pub server_arguments: Vec<String>,
}

/// Another chat server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComparedServer {
    /// Its address.
    pub address: SocketAddr,
    /// Its protocol.
    pub protocol: ChatProtocol,
}

/// Options that conflict with `--models`, which has its own shapes.
const NOT_WITH_MODELS: [&str; 15] = [
    "presets", "baseline", "addr", "workers", "clients", "rooms", "senders", "bytes", "window",
    "rate", "storm", "quiet", "idle", "churn", "udp",
];

fn epilogue() -> String {
    let presets: String = PRESETS
        .iter()
        .map(|preset| format!("  {:13} {}\n", preset.shape.name, preset.about))
        .collect();
    format!(
        "Each row gets a new forkchat-server on free ports of the loopback. All presets take about \
         two minutes, the models about eight.\n\n\
         Presets (where nothing else is said: 4 senders per room, each with 8 lines in flight, 100 \
         bytes per line):\n{presets}\n\
         A delivery is one line that arrives at one client. Shape options change the given \
         presets, or one room of 100.\n\
         Exit codes: 0 no fault, 1 something was lost, doubled, reordered, wrong or dropped, or \
         could not be measured, 2 the command line is wrong.\n\n\
         Examples:\n  forkchat-load --baseline --workers 1,2 room-100 rooms-100x10   the cost of a \
         chat relative to a bare broadcaster\n  forkchat-load --clients 300 --rate 2000 --seconds \
         20           latency at a steady rate\n  forkchat-load --addr 127.0.0.1:9000 \
         room-100                   a server that runs already\n  forkchat-load --models --report \
         models.html                    which model to choose"
    )
}

impl Options {
    /// The shapes of the rows.
    ///
    /// # Errors
    /// If options contradict each other or a shape is impossible; the text says why.
    pub fn shapes(&self) -> Result<Vec<Shape>, String> {
        if self.fault.is_some()
            && self.models.is_none()
            && (self.server.is_some() || !self.server_arguments.is_empty())
        {
            return Err("--fault loads the bare broadcaster: --server and options for it go with \
                --fault only beside --models"
                .into());
        }
        let is_model =
            |argument: &String| argument == "--model" || argument.starts_with("--model=");
        if self.models.is_some() && self.server_arguments.iter().any(is_model) {
            return Err("--models starts each server with a --model of its own: choose with \
                --models=pool,threads, not behind --"
                .into());
        }
        let mut shapes = self.presets.clone();
        if shapes.is_empty() {
            let is_custom = self.has_shape() || self.fault.is_some();
            shapes = if is_custom {
                vec![Shape::custom()]
            } else {
                PRESETS.iter().map(|preset| preset.shape).collect()
            };
        }
        let shapes: Vec<Shape> = shapes.into_iter().map(|shape| self.changed(shape)).collect();
        shapes.iter().try_for_each(Shape::check)?;
        Ok(shapes)
    }

    fn has_shape(&self) -> bool {
        let numbers = [self.clients, self.rooms, self.senders, self.bytes, self.window, self.idle];
        numbers.iter().any(Option::is_some)
            || self.rate.is_some()
            || self.churn.is_some()
            || self.storm
            || self.quiet
            || self.udp
    }

    fn changed(&self, shape: Shape) -> Shape {
        let or = |option: Option<u32>, preset| option.map_or(preset, |number| number as usize);
        let traffic = match (self.window, self.rate) {
            (Some(window), _) => Traffic::Window(window as usize),
            (_, Some(rate)) => Traffic::Rate(rate),
            _ if self.storm => Traffic::Storm,
            _ if self.quiet => Traffic::Quiet,
            _ => shape.traffic,
        };
        let (clients, rooms) = (or(self.clients, shape.clients), or(self.rooms, shape.rooms));
        // As many senders as the preset has, but not more than there are members.
        let usual = if shape.senders == 0 { Shape::custom().senders } else { shape.senders };
        let mut changed = Shape {
            name: shape.name,
            clients,
            rooms,
            senders: or(self.senders, usual.min(clients / rooms).max(1)),
            bytes: or(self.bytes, shape.bytes),
            traffic,
            idle: or(self.idle, shape.idle),
            churn: self.churn.unwrap_or(shape.churn),
            udp: self.udp || shape.udp,
        };
        if !changed.has_lines() {
            changed.senders = 0;
        }
        changed
    }

    /// The file for the report of `--models`.
    pub fn report(&self) -> PathBuf {
        self.report.clone().unwrap_or_else(|| "forkchat-models.html".into())
    }

    /// How long each side of a row is under load.
    pub fn seconds(&self) -> Duration {
        self.seconds.unwrap_or(Duration::from_secs(if self.quick { 1 } else { 10 }))
    }

    /// The numbers of workers to measure; `None` is the server's default.
    pub fn workers(&self) -> Vec<Option<u16>> {
        if self.workers.is_empty() {
            vec![None]
        } else {
            self.workers.iter().copied().map(Some).collect()
        }
    }

    /// The server's program.
    pub fn server(&self) -> Result<PathBuf, String> {
        server_program(self.server.as_deref(), "tests/load-test.sh")
    }
}

fn parse_preset(name: &str) -> Result<Shape, String> {
    let preset = PRESETS.iter().find(|preset| preset.shape.name == name);
    let names = || PRESETS.iter().map(|preset| preset.shape.name).collect::<Vec<_>>().join(", ");
    preset.map(|preset| preset.shape).ok_or_else(|| format!("there are {}", names()))
}

fn parse_per_second(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.1..=10_000_000.0).contains(number));
    number.ok_or_else(|| "give 0.1 to 10000000 a second".into())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give 0.1 to 86400 seconds".into())
}

fn parse_compared(text: &str) -> Result<ComparedServer, String> {
    let (address, protocol) = text
        .strip_suffix(":irc")
        .map_or((text, ChatProtocol::Lines), |address| (address, ChatProtocol::Irc));
    Ok(ComparedServer { address: parse_address(address)?, protocol })
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; give HOST:PORT, as in 127.0.0.1:9000"))?;
    addresses.next().ok_or_else(|| "no address has this name".into())
}

#[cfg(test)]
mod tests;
