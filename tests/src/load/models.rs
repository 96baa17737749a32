//! The comparison of the server's models (`--models`). Every family of shapes is put to each model
//! and to the bare broadcaster with every number of connections. Each cell is measured three times,
//! each time with a server of its own. The subjects take turns, so that a machine that becomes
//! slower or faster meanwhile favours none of them. The report is written again after every row, so
//! that there is one even if the run is interrupted.
//!
//! ```text
//!   sizes × families ──► row ──► cell: 3 samples (a server, its clients, a time limit) ──► outcome, or the reason why there is none
//!                         │
//!                         └────► table, JSON or CSV; html (curves from growth, pictures from plot and bars, sentences from choose)
//! ```

use super::broadcaster::Fault;
use super::compared::connect_compared;
use super::decision::Decision;
use super::html::{Report, document};
use super::measure::{Outcome, Side, Timing, measure, measure_kill};
use super::metrics::number;
use super::options::Options;
use super::progress::Progress;
use super::report::{Format, Missing, Row};
use super::shape::{Shape, Traffic};
use super::subject::{Model, Subject};
use super::target::{Capacity, Start, Target};
use super::{check_files, context, is_interrupted, machine, print_line, write_histograms};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// How often each cell is measured.
pub const SAMPLES: usize = 3;
/// The numbers of connections, without `--quick` and with it.
pub const SIZES: [usize; 4] = [10, 100, 1_000, 5_000];
const SIZES_QUICK: [usize; 3] = [10, 100, 300];
/// In the paced family, deliveries a second of all rooms together, whatever the number of
/// connections.
pub const PACED_DELIVERIES: f64 = 5_000.0;
/// A larger room sends more datagrams at once than the sockets' buffers hold. Then the network
/// would lose lines, not the server.
const UDP_SIZE_MAX: usize = 100;
/// The family in which a process of the server is killed.
const KILL: &str = "kill";
/// In a larger room the lines of the kill family would be so far apart that they could not show how
/// long a client waits.
pub const KILL_SIZE_MAX: usize = 1_000;
/// In the kill family, at most so many lines and deliveries per second,
const KILL_LINES_MAX: f64 = 200.0;
const KILL_DELIVERIES_MAX: f64 = 20_000.0;
/// and so many members of the room that speak in turn.
const KILL_SENDERS: usize = 8;
/// Members of a small room.
pub const SMALL_ROOM: usize = 10;

/// Shapes that differ only in the number of connections.
#[derive(Debug)]
pub struct Family {
    /// The beginning of its rows' names.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What the clients do.
    pub about: &'static str,
    /// The shape with so many connections.
    shape: fn(usize) -> Shape,
    /// The most connections that are tried.
    size_max: usize,
}

/// All families, in the order in which they are run.
pub const FAMILIES: [Family; 7] = [
    Family {
        name: "storm",
        title: "Connect storm",
        about: "all clients connect and log in, 256 at a time, and leave again, over and over",
        shape: |size| Shape { senders: 0, traffic: Traffic::Storm, ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "idle",
        title: "Idle crowd",
        about: "all clients are connected and say nothing",
        shape: |size| Shape { senders: 0, traffic: Traffic::Quiet, ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "rooms",
        title: "Small rooms",
        about: "rooms of 10. In each of them one member speaks as fast as its lines are read, with 4 lines in flight (a closed loop)",
        shape: |size| Shape { traffic: Traffic::Window(4), ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "room",
        title: "One big room",
        about: "all clients are in one room. Two members speak as fast as their lines are read, each with 4 lines in flight (a closed loop)",
        shape: |size| Shape {
            name: "room",
            clients: size,
            rooms: 1,
            senders: 2,
            traffic: Traffic::Window(4),
            ..Shape::custom()
        },
        size_max: usize::MAX,
    },
    Family {
        name: "paced",
        title: "Paced",
        about: "rooms of 10 in which lines are said on time (an open loop): 5,000 deliveries per second in all rooms together, however many clients are connected",
        shape: |size| Shape {
            traffic: Traffic::Rate(PACED_DELIVERIES / (size.min(SMALL_ROOM) - 1) as f64),
            ..in_small_rooms(size)
        },
        size_max: usize::MAX,
    },
    Family {
        name: "udp",
        title: "UDP room",
        about: "one room over UDP. Two members speak as fast as their lines are read, each with 4 lines in flight (a closed loop)",
        shape: |size| Shape {
            clients: size,
            rooms: 1,
            senders: 2,
            traffic: Traffic::Window(4),
            udp: true,
            ..Shape::custom()
        },
        size_max: UDP_SIZE_MAX,
    },
    Family {
        name: KILL,
        title: "Kill",
        about: "all clients are in one room in which 8 members speak in turn, on time (an open loop): 200 lines per second, or 20,000 deliveries if \
            those are fewer lines. In the middle of it a process that serves clients is killed with kill -9",
        shape: |size| Shape {
            clients: size,
            rooms: 1,
            senders: KILL_SENDERS.min(size),
            traffic: Traffic::Rate(KILL_LINES_MAX.min(KILL_DELIVERIES_MAX / (size - 1) as f64)),
            ..Shape::custom()
        },
        size_max: KILL_SIZE_MAX,
    },
];

fn in_small_rooms(size: usize) -> Shape {
    Shape { clients: size, rooms: (size / SMALL_ROOM).max(1), senders: 1, ..Shape::custom() }
}

impl Family {
    /// Its shape with so many connections.
    pub fn shape(&self, size: usize) -> Shape {
        Shape { name: self.name, ..(self.shape)(size) }
    }

    /// Whether the load makes sense for a subject: only a model's processes are known, so only they
    /// are killed.
    fn is_for(&self, subject: Subject) -> bool {
        self.name != KILL || matches!(subject, Subject::Model(_))
    }
}

/// A run: what is measured, and the results so far.
struct Comparison<'o> {
    options: &'o Options,
    subjects: Vec<Subject>,
    timing: Timing,
    /// By subject's key, how many connections a model takes at a time.
    capacities: HashMap<&'static str, Capacity>,
    rows: Vec<Row>,
}

/// Runs the comparison and writes the report. Returns the rows; if the run was interrupted, those
/// that were measured until then.
///
/// # Errors
/// If the report or a row cannot be written. A cell that cannot be measured is not an error: its
/// row has the reason.
pub fn compare(options: &Options, models: &[Model], format: Format) -> Result<Vec<Row>, String> {
    let path = options.report();
    let mut subjects: Vec<Subject> =
        Model::ALL.into_iter().filter(|model| models.contains(model)).map(Subject::Model).collect();
    subjects.push(Subject::Bare);
    subjects.extend(options.compare.map(|_| Subject::Compared));
    let timing = timing(options);
    let mut comparison =
        Comparison { options, subjects, timing, capacities: HashMap::new(), rows: Vec::new() };
    // If the report cannot be written, say so now and not after eight minutes.
    comparison.write(&path, Some("nothing was measured yet"))?;
    let sizes = sizes(options);
    let plan: Vec<(usize, &Family)> = sizes
        .iter()
        .flat_map(|&size| FAMILIES.iter().map(move |family| (size, family)))
        .filter(|(size, family)| *size <= family.size_max)
        .collect();
    let progress =
        Progress::start(timing.each * (plan.len() * comparison.subjects.len() * SAMPLES) as u32);
    if let Some(head) = format.head(&machine()) {
        print_line(&head)?;
    }
    let last = plan.len();
    for (number, (size, family)) in (1..).zip(plan) {
        comparison.measure_row(family, size, &progress, number - 1);
        let Some(row) = comparison.rows.last() else { continue };
        let is_over = is_interrupted();
        let note = if is_over {
            "it was interrupted"
        } else {
            "it was still running when this was written"
        };
        comparison.write(&path, (is_over || number < last).then_some(note))?;
        write_histograms(options, number, row)?;
        progress.hide_while(|| print_line(&format.row(row)))?;
        if is_over {
            break;
        }
    }
    progress.end();
    if format == Format::Table {
        comparison.answer().iter().try_for_each(|line| print_line(line))?;
    }
    eprintln!("the report is in {}", path.display());
    Ok(comparison.rows)
}

fn timing(options: &Options) -> Timing {
    let ms = Duration::from_millis;
    let (each, warm_up, quiet_down, limit) = if options.quick {
        (ms(300), ms(50), ms(100), ms(10_000))
    } else {
        (ms(3_000), ms(200), ms(500), ms(45_000))
    };
    let each = options.seconds.unwrap_or(each) / SAMPLES as u32;
    Timing {
        each,
        warm_up: warm_up.min(each),
        quiet_down: quiet_down.min(each),
        limit: Some(limit + each),
        measures_memory: false,
    }
}

fn sizes(options: &Options) -> Vec<usize> {
    let usual = if options.quick { &SIZES_QUICK[..] } else { &SIZES };
    let mut sizes = if options.sizes.is_empty() {
        usual.to_vec()
    } else {
        options.sizes.iter().map(|&size| size as usize).collect()
    };
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl Comparison<'_> {
    fn measure_row(&mut self, family: &Family, size: usize, progress: &Progress, before: usize) {
        let shape = family.shape(size);
        let mut row =
            Row { shape, workers: None, size: Some(size), sides: Vec::new(), missing: Vec::new() };
        let subjects: Vec<Subject> =
            self.subjects.iter().copied().filter(|&subject| family.is_for(subject)).collect();
        let mut cells: Vec<Result<Vec<Outcome>, Missing>> =
            subjects.iter().map(|&subject| self.begin_cell(subject, family)).collect();
        for sample in 0..SAMPLES {
            for turn in 0..subjects.len() {
                // Each round begins with another subject.
                let place = (turn + sample) % subjects.len();
                let Ok(outcomes) = &mut cells[place] else { continue };
                let done = before * self.subjects.len() * SAMPLES + sample * subjects.len() + turn;
                progress.set(self.timing.each * done as u32);
                progress.show(format!(
                    "{}: {}, sample {} of {SAMPLES}",
                    row.name(),
                    subjects[place].text(),
                    sample + 1
                ));
                match self.measure_sample(subjects[place], shape, sample, progress) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(_) if is_interrupted() => {
                        cells[place] = Err(Missing::NotRun("interrupted".into()))
                    }
                    Err(missing) => cells[place] = Err(missing),
                }
            }
        }
        for (subject, cell) in subjects.into_iter().zip(cells) {
            match cell.map(Outcome::of_samples) {
                Ok(Some(outcome)) => row.sides.push((subject, outcome)),
                Ok(None) => {
                    row.missing.push((subject, Missing::Failed("nothing was measured".into())))
                }
                Err(missing) => row.missing.push((subject, missing)),
            }
        }
        self.rows.push(row);
    }

    /// No samples yet, or the reason why there will be none. A subject that failed with fewer
    /// connections is not tried with more: that would take long and show nothing new.
    fn begin_cell(&self, subject: Subject, family: &Family) -> Result<Vec<Outcome>, Missing> {
        let has_failed = |row: &&Row| {
            row.shape.name == family.name
                && row.missing.iter().any(|(side, missing)| {
                    *side == subject && matches!(missing, Missing::Failed(_))
                })
        };
        match self.rows.iter().find(has_failed).and_then(|row| row.size) {
            Some(size) => {
                Err(Missing::NotRun(format!("it failed with {size} connections already")))
            }
            None => Ok(Vec::new()),
        }
    }

    fn measure_sample(
        &mut self,
        subject: Subject,
        shape: Shape,
        sample: usize,
        progress: &Progress,
    ) -> Result<Outcome, Missing> {
        if is_interrupted() {
            return Err(Missing::NotRun("interrupted".into()));
        }
        // Without starting it again for an answer that is known.
        self.capacities
            .get(subject.key())
            .map_or(Ok(()), |capacity| check_capacity(capacity, shape))?;
        check_files(shape).map_err(Missing::NotRun)?;
        let side = match self.options.compare.filter(|_| subject == Subject::Compared) {
            Some(other) => connect_compared(other, shape, &self.timing)?,
            None => self.begin(subject, shape)?,
        };
        if shape.name == KILL {
            return measure_kill(side, &shape, self.timing.each, sample, progress)
                .map_err(Missing::Failed);
        }
        let mut outcomes =
            measure(vec![side], &shape, self.timing.each, progress).map_err(Missing::Failed)?;
        outcomes.pop().ok_or_else(|| Missing::Failed("nothing was measured".into()))
    }

    /// Starts a server of our own, or the bare broadcaster, and connects the clients.
    fn begin(&mut self, subject: Subject, shape: Shape) -> Result<Side, Missing> {
        let target = self.start(subject, shape).map_err(Missing::Failed)?;
        if let Subject::Model(_) = subject
            && let Some(capacity) = target.capacity()
        {
            let checked = check_capacity(&capacity, shape);
            self.capacities.insert(subject.key(), capacity);
            checked?;
        }
        Side::connect(target, shape, &self.timing).map_err(Missing::Failed)
    }

    fn start(&self, subject: Subject, shape: Shape) -> Result<Target, String> {
        let model = match subject {
            Subject::Model(model) => Some(model),
            Subject::Bare => return Target::bare(self.fault_for(shape)),
            Subject::Server | Subject::Compared => None,
        };
        Target::forkchat(self.options, Start { workers: None, udp: shape.udp, model })
    }

    /// The bare broadcaster makes faults only where lines are said.
    fn fault_for(&self, shape: Shape) -> Option<Fault> {
        self.options.fault.filter(|_| shape.has_lines())
    }

    fn write(&self, path: &Path, unfinished: Option<&str>) -> Result<(), String> {
        std::fs::write(path, document(&self.report(unfinished)))
            .map_err(context(&format!("cannot write the report to {}", path.display())))
            .map_err(|said| {
                if self.rows.is_empty() {
                    format!("{said}; give --report FILE with a file that can be written")
                } else {
                    said
                }
            })
    }

    fn report<'r>(&'r self, unfinished: Option<&'r str>) -> Report<'r> {
        Report {
            machine: machine(),
            command: command(std::env::args().skip(1)),
            subjects: &self.subjects,
            seconds: self.timing.each,
            limit: self.timing.limit,
            capacities: &self.capacities,
            rows: &self.rows,
            compared: self.options.compare,
            unfinished,
        }
    }

    /// The answer, as lines of text.
    fn answer(&self) -> Vec<String> {
        let report = self.report(None);
        let models = report.models();
        let questions = report.questions(&models);
        let Some(decision) = Decision::new(&questions, &models) else { return Vec::new() };
        let verdict = decision.verdicts().into_iter().map(|verdict| {
            format!("  {:>6} connections: {}. {}", verdict.size, verdict.choose, verdict.why)
        });
        let rest = decision.kill().into_iter().chain(report.room());
        ["\nWhich model to choose:".to_owned()].into_iter().chain(verdict).chain(rest).collect()
    }
}

fn check_capacity(capacity: &Capacity, shape: Shape) -> Result<(), Missing> {
    let most = capacity.connections;
    let has_room = shape.connections() <= most;
    has_room.then_some(()).ok_or_else(|| {
        Missing::NotRun(format!("at most {} connections fit on this machine", number(most as f64)))
    })
}

/// The command that does it again, quoted for a shell.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let is_plain = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_=.,:/+@%#".contains(c))
    };
    let quoted = arguments.map(|text| {
        if is_plain(&text) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
    });
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
            assert_eq!(
                (rate * (shape.members_of(0) - 1) as f64).round(),
                PACED_DELIVERIES,
                "{size}"
            );
        }
    }

    #[test]
    fn the_command_can_be_typed_again() {
        let arguments =
            ["--models=pool,process", "--report", "it's here.html", ""].map(str::to_owned);
        assert_eq!(
            command(arguments.into_iter()),
            r"tests/load-test.sh --models=pool,process --report 'it'\''s here.html' ''"
        );
    }
}
