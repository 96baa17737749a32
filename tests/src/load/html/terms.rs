//! The definitions of the report's terms. They come right after the answer, before the terms are
//! used.

/// The terms and their definitions.
pub const TERMS: [(&str, &str); 12] = [
    (
        "line",
        "What a client says: a line of text that the server sends to all other members of the \
         room.",
    ),
    (
        "delivery",
        "One line that arrived at one client. A line in a room of ten is nine deliveries, since \
         the client that said it does not receive it.",
    ),
    (
        "sample, spread",
        "Each load was measured three times, each time with a newly started server. A number here \
         is the median of the three samples. The spread is the range from the lowest to the \
         highest sample; in tables it stands in brackets, and pictures show it as a whisker.",
    ),
    (
        "CPU time",
        "The time for which the server's processes kept a CPU busy, in microseconds (µs) for each \
         delivery.",
    ),
    (
        "closed loop",
        "Load at full speed: a client says its next line when an earlier one has reached all \
         members. A fixed number of lines is in flight.",
    ),
    (
        "open loop",
        "Load at a steady pace: lines are said at fixed moments, whether or not the server keeps \
         up. So a server that stands still cannot hide it.",
    ),
    (
        "latency",
        "The time from the moment at which a line was due or sent until a member had read it.",
    ),
    (
        "p50, p99, p99.9",
        "Percentiles of the latency: 50, 99 or 99.9 of 100 deliveries took at most this long.",
    ),
    (
        "PSS",
        "Proportional set size, a measure of memory: a process's own memory and its share of the \
         memory that it shares with other processes.",
    ),
    ("worker", "A process of the server that serves clients."),
    (
        "supervisor, journal",
        "The supervisor is the process that starts all others and keeps a duplicate of each \
         connection's socket. The journal is the process that writes what was said to the disk; \
         its CPU time is counted separately.",
    ),
    (
        "bare broadcaster",
        "A program for comparison. One thread copies each line to all members, without names, \
         commands or a log. It is not a chat server: it shows what the machine can do.",
    ),
];

/// The definitions, as HTML.
pub fn terms() -> String {
    let term =
        |(name, meaning): &(&str, &str)| format!("<dt><dfn>{name}</dfn></dt><dd>{meaning}</dd>\n");
    let terms: String = TERMS.iter().map(term).collect();
    format!("<section id=\"terms\">\n<h2>Terms</h2>\n<dl>\n{terms}</dl>\n</section>\n")
}
