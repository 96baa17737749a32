//! The comparison of the server's models (`--models`): every family of shapes, at every number of connections, put to each model and to the
//! bare broadcaster, each time to a server of its own. The report is written anew after every row, so that it is there however this ends.
//!
//! ```text
//!   sizes × families ──► row ──► cell (a server, its clients, a bound in time) ──► outcome, or why there is none
//!                         │
//!                         └────► table, JSON or CSV; html (curves from growth, pictures from plot, sentences from choose)
//! ```

use super::broadcaster::Fault;
use super::compared::begin_compared;
use super::html::{Report, document};
use super::measure::{Outcome, Side, Timing, measure};
use super::options::Options;
use super::progress::Progress;
use super::report::{Format, Missing, Row};
use super::shape::{Shape, Traffic};
use super::subject::{Model, Subject};
use super::target::{Start, Target};
use super::{check_files, error, is_interrupted, machine, tell, write_histograms};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// Connections that are tried; with `--quick` the latter.
pub const SIZES: [usize; 4] = [10, 100, 1_000, 5_000];
const SIZES_QUICK: [usize; 3] = [10, 100, 300];
/// In the paced family, deliveries a second of all rooms together, whatever the number of connections.
pub const PACED_DELIVERIES: f64 = 5_000.0;
/// A room of more takes more datagrams at once than the sockets' buffers hold: loss would be the network's, not the server's.
const UDP_SIZE_MAX: usize = 100;
/// Members of a small room.
pub const SMALL_ROOM: usize = 10;

/// Shapes that differ in the number of connections only.
#[derive(Debug)]
pub struct Family {
    /// Its rows' names begin with it.
    pub name: &'static str,
    /// For a heading.
    pub title: &'static str,
    /// What is done.
    pub about: &'static str,
    /// The shape, for so many connections.
    shape: fn(usize) -> Shape,
    /// More connections are not tried.
    size_max: usize,
}

/// All families, in the order in which they are run.
pub const FAMILIES: [Family; 6] = [
    Family {
        name: "storm",
        title: "Connect storm",
        about: "everybody connects and logs in, 256 at a time, and leaves again; over and over",
        shape: |size| Shape { senders: 0, traffic: Traffic::Storm, ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "idle",
        title: "Idle crowd",
        about: "everybody is connected and says nothing",
        shape: |size| Shape { senders: 0, traffic: Traffic::Quiet, ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "rooms",
        title: "Small rooms",
        about: "rooms of 10, in each of which one speaks as fast as its lines are read, 4 in flight",
        shape: |size| Shape { traffic: Traffic::Window(4), ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "room",
        title: "One big room",
        about: "everybody is in one room, in which two speak as fast as their lines are read, 4 of each in flight",
        shape: |size| Shape { name: "room", clients: size, rooms: 1, senders: 2, traffic: Traffic::Window(4), ..Shape::custom() },
        size_max: usize::MAX,
    },
    Family {
        name: "paced",
        title: "Paced",
        about: "rooms of 10 in which lines are said on time, all rooms together for 5,000 deliveries a second, however many are connected",
        shape: |size| Shape { traffic: Traffic::Rate(PACED_DELIVERIES / (size.min(SMALL_ROOM) - 1) as f64), ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "udp",
        title: "UDP room",
        about: "one room over UDP, in which two speak as fast as their lines are read, 4 of each in flight",
        shape: |size| Shape { clients: size, rooms: 1, senders: 2, traffic: Traffic::Window(4), udp: true, ..Shape::custom() },
        size_max: UDP_SIZE_MAX,
    },
];

fn in_small_rooms(size: usize) -> Shape {
    Shape { clients: size, rooms: (size / SMALL_ROOM).max(1), senders: 1, ..Shape::custom() }
}

impl Family {
    /// One of its shapes.
    pub fn shape(&self, size: usize) -> Shape {
        Shape { name: self.name, ..(self.shape)(size) }
    }
}

/// A run: what is tried, and what is known of it so far.
struct Comparison<'o> {
    options: &'o Options,
    subjects: Vec<Subject>,
    timing: Timing,
    /// How many connections a model has said that it takes.
    capacities: HashMap<&'static str, usize>,
    rows: Vec<Row>,
}

/// Runs all of it and writes the report: the rows. Was it interrupted, those till then.
///
/// # Errors
/// If the report, or a row, can't be written. What can't be measured is in its row.
pub fn compare(options: &Options, models: &[Model], format: Format) -> Result<Vec<Row>, String> {
    let path = options.report();
    let mut subjects: Vec<Subject> = Model::ALL.into_iter().filter(|model| models.contains(model)).map(Subject::Model).collect();
    subjects.push(Subject::Bare);
    subjects.extend(options.compare.map(|_| Subject::Compared));
    let timing = timing(options);
    let mut comparison = Comparison { options, subjects, timing, capacities: HashMap::new(), rows: Vec::new() };
    // Who can't write it shall know now, and not in ten minutes.
    comparison.write(&path, Some("nothing was measured yet"))?;
    let sizes = sizes(options);
    let plan: Vec<(usize, &Family)> = sizes
        .iter()
        .flat_map(|&size| FAMILIES.iter().map(move |family| (size, family)))
        .filter(|(size, family)| *size <= family.size_max)
        .collect();
    let progress = Progress::begin(timing.each * (plan.len() * comparison.subjects.len()) as u32);
    if let Some(head) = format.head(&machine()) {
        tell(&head)?;
    }
    let last = plan.len();
    for (number, (size, family)) in (1..).zip(plan) {
        comparison.measure_row(family, size, &progress, number - 1);
        let Some(row) = comparison.rows.last() else { continue };
        let is_over = is_interrupted();
        let note = if is_over { "it was interrupted" } else { "it was still running when this was written" };
        comparison.write(&path, (is_over || number < last).then_some(note))?;
        write_histograms(options, number, row)?;
        progress.hide_while(|| tell(&format.row(row)))?;
        if is_over {
            break;
        }
    }
    progress.end();
    eprintln!("the report is in {}", path.display());
    Ok(comparison.rows)
}

fn timing(options: &Options) -> Timing {
    let ms = Duration::from_millis;
    let (each, warm_up, quiet_down, limit) =
        if options.quick { (ms(300), ms(100), ms(200), ms(10_000)) } else { (ms(4_000), ms(300), ms(1_000), ms(45_000)) };
    let each = options.seconds.unwrap_or(each);
    Timing { each, warm_up: warm_up.min(each), quiet_down: quiet_down.min(each), limit: Some(limit + each) }
}

fn sizes(options: &Options) -> Vec<usize> {
    let usual = if options.quick { &SIZES_QUICK[..] } else { &SIZES };
    let mut sizes = if options.sizes.is_empty() { usual.to_vec() } else { options.sizes.iter().map(|&size| size as usize).collect() };
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl Comparison<'_> {
    fn measure_row(&mut self, family: &Family, size: usize, progress: &Progress, before: usize) {
        let shape = family.shape(size);
        let mut row = Row { shape, workers: None, size: Some(size), sides: Vec::new(), missing: Vec::new() };
        for (place, subject) in self.subjects.clone().into_iter().enumerate() {
            if is_interrupted() {
                row.missing.push((subject, Missing::NotRun("interrupted".into())));
                continue;
            }
            progress.reach(self.timing.each * (before * self.subjects.len() + place) as u32);
            progress.tell(format!("{}: {}", row.name(), subject.text()));
            let outcome = match self.given_up_before(subject, family) {
                Some(why) => Err(Missing::NotRun(why)),
                None => self.measure_cell(subject, shape, progress),
            };
            match outcome {
                Ok(outcome) => row.sides.push((subject, outcome)),
                Err(_) if is_interrupted() => row.missing.push((subject, Missing::NotRun("interrupted".into()))),
                Err(missing) => row.missing.push((subject, missing)),
            }
        }
        self.rows.push(row);
    }

    /// Who has failed with fewer connections isn't tried with more: that takes long, and tells nothing new.
    fn given_up_before(&self, subject: Subject, family: &Family) -> Option<String> {
        let has_failed = |row: &&Row| {
            row.shape.name == family.name
                && row.missing.iter().any(|(side, missing)| *side == subject && matches!(missing, Missing::Failed(_)))
        };
        let size = self.rows.iter().find(has_failed)?.size?;
        Some(format!("failed with {size} connections already"))
    }

    fn measure_cell(&mut self, subject: Subject, shape: Shape, progress: &Progress) -> Result<Outcome, Missing> {
        // It needn't be started to say it again.
        self.capacities.get(subject.key()).map_or(Ok(()), |&capacity| check_capacity(capacity, shape))?;
        check_files(shape).map_err(Missing::NotRun)?;
        let side = match self.options.compare.filter(|_| subject == Subject::Compared) {
            Some(other) => begin_compared(other, shape, &self.timing)?,
            None => self.begin(subject, shape)?,
        };
        let mut outcomes = measure(vec![side], &shape, self.timing.each, progress).map_err(Missing::Failed)?;
        outcomes.pop().ok_or_else(|| Missing::Failed("nothing was measured".into()))
    }

    /// Starts one of our own.
    fn begin(&mut self, subject: Subject, shape: Shape) -> Result<Side, Missing> {
        let target = self.start(subject, shape).map_err(Missing::Failed)?;
        if let Subject::Model(_) = subject
            && let Some(capacity) = target.capacity()
        {
            self.capacities.insert(subject.key(), capacity);
            check_capacity(capacity, shape)?;
        }
        Side::begin(target, shape, &self.timing).map_err(Missing::Failed)
    }

    fn start(&self, subject: Subject, shape: Shape) -> Result<Target, String> {
        let model = match subject {
            Subject::Model(model) => Some(model),
            Subject::Bare => return Target::bare(self.fault_for(shape)),
            Subject::Server | Subject::Compared => None,
        };
        Target::forkchat(self.options, Start { workers: None, udp: shape.udp, model })
    }

    /// The broadcaster makes faults where lines are said.
    fn fault_for(&self, shape: Shape) -> Option<Fault> {
        self.options.fault.filter(|_| shape.has_lines())
    }

    fn write(&self, path: &Path, unfinished: Option<&str>) -> Result<(), String> {
        let report = Report {
            machine: machine(),
            command: command(std::env::args().skip(1)),
            subjects: &self.subjects,
            seconds: self.timing.each,
            limit: self.timing.limit,
            rows: &self.rows,
            compared: self.options.compare,
            unfinished,
        };
        std::fs::write(path, document(&report))
            .map_err(error(&format!("cannot write the report to {}", path.display())))
            .map_err(|said| if self.rows.is_empty() { format!("{said}; give --report FILE, where one may write") } else { said })
    }
}

fn check_capacity(capacity: usize, shape: Shape) -> Result<(), Missing> {
    let has_room = shape.connections() <= capacity;
    has_room.then_some(()).ok_or_else(|| Missing::NotRun(format!("it takes at most {capacity} connections here")))
}

/// How it is asked for again, as one types it to a shell.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let is_plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_=.,:/+@%#".contains(c));
    let quoted = arguments.map(|text| if is_plain(&text) { text } else { format!("'{}'", text.replace('\'', r"'\''")) });
    std::iter::once("tests/load-test.sh".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_every_family_is_sound() {
        for family in &FAMILIES {
            for size in [2, 3, 10, 11, 99, 100, 5_000] {
                let shape = family.shape(size);
                assert_eq!(shape.check(), Ok(()), "{} of {size}", family.name);
                assert_eq!((shape.connections(), shape.name), (size, family.name));
            }
        }
    }

    #[test]
    fn paced_is_the_same_number_of_deliveries_for_any_number_of_connections() {
        let paced = FAMILIES.iter().find(|family| family.name == "paced").unwrap();
        for size in [2, 5, 10, 100, 5_000] {
            let shape = paced.shape(size);
            let Traffic::Rate(rate) = shape.traffic else { panic!("{shape:?}") };
            assert_eq!((rate * (shape.members_of(0) - 1) as f64).round(), PACED_DELIVERIES, "{size}");
        }
    }

    #[test]
    fn the_command_can_be_typed_again() {
        let arguments = ["--models=pool,process", "--report", "it's here.html", ""].map(str::to_owned);
        assert_eq!(command(arguments.into_iter()), r"tests/load-test.sh --models=pool,process --report 'it'\''s here.html' ''");
    }
}
