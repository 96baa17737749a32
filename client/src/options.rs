//! The command line.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use forkchat_common::charset::{Charset, CharsetError};
use forkchat_common::names::{Nick, RoomName};

/// The port of an address without one.
const DEFAULT_PORT: u16 = 9000;

const TEMPLATE: &str = "{about}\n\n{usage-heading} {usage}\n\n{positionals}\n{options}{after-help}";

const AFTER_HELP: &str = "\
Examples:
  forkchat-client --nick alice --join '#rust'     chat on this machine
  make 2>&1 | forkchat-client --nick builder      send what a program prints
  forkchat-client --json < lines | tee log        send lines, print JSON objects
At a terminal: / starts a command, Tab completes, Ctrl-D leaves.
Signs: ✓ accepted, … waiting, ? unknown, ✗ not sent, » for you, - client note
Exit codes: 0 success, 1 connection, login or a line refused or lost, 2 usage";

/// Chat on a forkchat server; in a pipe, send input lines and print received ones.
#[derive(Clone, Debug, Parser)]
#[command(name = "forkchat-client", version, after_help = AFTER_HELP, help_template = TEMPLATE)]
pub struct Options {
    /// The server: HOST, HOST:PORT, or HOST PORT
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:9000", value_parser = checked_address)]
    pub address: String,
    /// The port, if ADDR has none [default: 9000]
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Connect over UDP
    #[arg(long)]
    pub udp: bool,
    /// Charset; in a pipe, also that of stdin and stdout
    #[arg(
        long,
        value_name = "NAME",
        default_value = "utf-8",
        hide_default_value = true,
        value_parser = charset
    )]
    pub charset: Charset,
    /// Use this nickname
    #[arg(long, value_name = "NAME", value_parser = nick)]
    pub nick: Option<String>,
    /// Join this room too; you talk in the last one
    #[arg(long, value_name = "#ROOM", value_parser = room)]
    pub join: Vec<String>,
    /// Colours: auto (unless NO_COLOR is set), always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: Color,
    /// No bell when your name is mentioned
    #[arg(long)]
    pub no_bell: bool,
    /// Execute input lines that start with /, as at a terminal
    #[arg(long)]
    pub commands: bool,
    /// Print one JSON object per line, also on a terminal
    #[arg(long)]
    pub json: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Unless the variable `NO_COLOR` is set to something (<https://no-color.org>).
    Auto,
    /// Even if `NO_COLOR` is set.
    Always,
    /// No colours.
    Never,
}

impl Color {
    /// Whether output to a terminal has colours, given the value of the variable `NO_COLOR`.
    pub fn is_used(self, no_color: Option<&std::ffi::OsStr>) -> bool {
        match self {
            Color::Auto => no_color.is_none_or(std::ffi::OsStr::is_empty),
            Color::Always => true,
            Color::Never => false,
        }
    }
}

impl Options {
    /// Parses the command line of this process. If it is wrong, the process exits with code 2.
    pub fn read() -> Options {
        Options::try_parse()
            .and_then(Options::with_port_in_address)
            .unwrap_or_else(|error| error.exit())
    }

    /// Puts the port into the address.
    ///
    /// # Errors
    /// If the address already has a port.
    fn with_port_in_address(mut self) -> Result<Options, clap::Error> {
        self.address = host_and_port(&self.address, self.port.take())
            .map_err(|why| Options::command().error(ErrorKind::ArgumentConflict, why))?;
        Ok(self)
    }
}

fn checked_address(address: &str) -> Result<String, String> {
    host_and_port(address, None).map(|_| address.to_owned())
}

/// The address as HOST:PORT. An IPv6 address without a port needs no brackets. Its scope (`%eth0`)
/// stays.
fn host_and_port(address: &str, port: Option<u16>) -> Result<String, String> {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let (number, scope) =
        bare.split_once('%').map_or((bare, None), |(number, scope)| (number, Some(scope)));
    if number.parse::<std::net::Ipv6Addr>().is_ok() && scope.is_none_or(|scope| !scope.is_empty()) {
        let port = port.unwrap_or(DEFAULT_PORT);
        // Only the system's resolver understands a scope, and it accepts no brackets.
        return Ok(if scope.is_some() {
            format!("{bare}:{port}")
        } else {
            format!("[{bare}]:{port}")
        });
    }
    match address.rsplit_once(':') {
        None if address.is_empty() => Err("an address is HOST, HOST:PORT or HOST PORT".to_owned()),
        None => Ok(format!("{address}:{}", port.unwrap_or(DEFAULT_PORT))),
        Some((host, named))
            if !host.is_empty() && named.parse::<u16>().is_ok_and(|named| named != 0) =>
        {
            match port {
                Some(port) => {
                    Err(format!("{address} already has a port; give either that or {port}"))
                }
                None if host.contains('%') => Ok(address.replace(['[', ']'], "")),
                None => Ok(address.to_owned()),
            }
        }
        Some(_) => {
            Err("an address is HOST, HOST:PORT or HOST PORT, the port from 1 to 65535".to_owned())
        }
    }
}

fn charset(label: &str) -> Result<Charset, String> {
    Charset::by_label(label).map_err(|error| match error {
        CharsetError::Unknown => "use utf-8, gbk, gb18030, big5, shift_jis, euc-kr, windows-1251 \
             or another WHATWG name"
            .to_owned(),
        CharsetError::NotAscii(name) => format!(
            "{name} lacks ASCII, or some of its bytes are not text; \
             utf-8 has all its characters"
        ),
    })
}

fn nick(text: &str) -> Result<String, String> {
    match Nick::parse(text) {
        Ok(nick) => Ok(nick.as_str().to_owned()),
        Err(_) => Err("a nickname is 1 to 32 letters, digits and _ - [ ] { } \\ ^ |".to_owned()),
    }
}

fn room(text: &str) -> Result<String, String> {
    match RoomName::parse(text) {
        Ok(room) => Ok(room.as_str().to_owned()),
        Err(_) => {
            Err("a room is # and 1 to 50 letters, digits and _ - . [ ] { } \\ ^ |, as in '#lobby'"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_help_fits_a_screen() {
        let help = Options::command().render_help().to_string();
        assert!(help.lines().count() <= 24, "{} lines:\n{help}", help.lines().count());
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "wider than a screen: {line}");
        }
    }

    #[test]
    fn an_address_without_a_port_gets_the_default_port() {
        for (given, meant) in [
            ("localhost", "localhost:9000"),
            ("::1", "[::1]:9000"),
            ("[::1]", "[::1]:9000"),
            ("[::1]:7", "[::1]:7"),
            ("host:80", "host:80"),
            ("fe80::1%eth0", "fe80::1%eth0:9000"),
            ("[fe80::1%eth0]:7", "fe80::1%eth0:7"),
        ] {
            assert_eq!(host_and_port(given, None).as_deref(), Ok(meant));
        }
        for wrong in ["", ":9000", "host:", "host:0", "host:65536", "host:http"] {
            assert!(host_and_port(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn host_and_port_may_be_two_arguments_as_for_nc() {
        let address = |arguments: &[&str]| {
            let arguments = ["forkchat-client"].iter().chain(arguments);
            Options::try_parse_from(arguments)
                .and_then(Options::with_port_in_address)
                .map(|options| options.address)
        };
        for (given, meant) in [
            (&[] as &[&str], "127.0.0.1:9000"),
            (&["localhost", "7"], "localhost:7"),
            (&["::1", "7"], "[::1]:7"),
            (&["[::1]", "7"], "[::1]:7"),
            (&["fe80::1%eth0", "7"], "fe80::1%eth0:7"),
            (&["localhost:7"], "localhost:7"),
        ] {
            assert_eq!(address(given).unwrap(), meant);
        }
        for wrong in [
            &["localhost:7", "8"] as &[&str],
            &["[::1]:7", "8"],
            &["localhost", "0"],
            &["localhost", "http"],
            &["a", "1", "2"],
        ] {
            assert_eq!(address(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn no_color_has_an_effect_only_with_a_value() {
        assert!(
            Color::Auto.is_used(None)
                && Color::Auto.is_used(Some("".as_ref()))
                && !Color::Auto.is_used(Some("1".as_ref()))
        );
        assert!(Color::Always.is_used(Some("1".as_ref())) && !Color::Never.is_used(None));
    }
}
