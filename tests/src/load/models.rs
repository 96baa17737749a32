//! The comparison of the server's models (`--models`). Each model and the bare broadcaster get the
//! loads of all families with all numbers of connections. Each cell is measured three times, each
//! time with a newly started server. The subjects take turns, so that a machine that becomes slower
//! or faster meanwhile favours none of them. The report is written after every row, so that there
//! is one even if the run is interrupted.
//!
//! ```text
//!  sizes × families ─► row ─► cell: 3 samples ─► outcome, or the reason why there is none
//!                       │     (each with a new server, its clients, and a time limit)
//!                       └──► table, JSON or CSV; html (metrics, plot, bars, decision)
//! ```

use super::broadcaster::Fault;
use super::compared::connect_compared;
use super::decision::Decision;
use super::families::{FAMILIES, Family, KILL};
use super::html::{Report, document};
use super::measure::{Side, Timing, measure, measure_kill};
use super::metrics::number;
use super::options::Options;
use super::outcome::Outcome;
use super::progress::Progress;
use super::report::{Format, Missing, Row};
use super::shape::Shape;
use super::subject::{Model, Subject};
use super::target::{Capacity, Start, Target};
use super::{check_files, context, is_interrupted, machine, print_line, write_histograms};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// How often each cell is measured.
pub const SAMPLES: usize = 3;
/// The numbers of connections, without and with `--quick`.
pub const SIZES: [usize; 4] = [10, 100, 1_000, 5_000];
const SIZES_QUICK: [usize; 3] = [10, 100, 300];
/// A comparison: what is measured, and the results so far.
struct Comparison<'o> {
    options: &'o Options,
    subjects: Vec<Subject>,
    timing: Timing,
    /// By the key of a subject: how many connections a model accepts at a time.
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
    // An unwritable report is reported now and not after eight minutes.
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
        let was_interrupted = is_interrupted();
        let note = if was_interrupted {
            "it was interrupted"
        } else {
            "it was still running when this was written"
        };
        comparison.write(&path, (was_interrupted || number < last).then_some(note))?;
        write_histograms(options, number, row)?;
        progress.hide_while(|| print_line(&format.row(row)))?;
        if was_interrupted {
            break;
        }
    }
    progress.end();
    if format == Format::Table {
        comparison.recommendation().iter().try_for_each(|line| print_line(line))?;
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
                // Each sample begins with another subject.
                let index = (turn + sample) % subjects.len();
                let Ok(outcomes) = &mut cells[index] else { continue };
                let done = before * self.subjects.len() * SAMPLES + sample * subjects.len() + turn;
                progress.set(self.timing.each * done as u32);
                progress.show(format!(
                    "{}: {}, sample {} of {SAMPLES}",
                    row.name(),
                    subjects[index].text(),
                    sample + 1
                ));
                match self.measure_sample(subjects[index], shape, sample, progress) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(_) if is_interrupted() => {
                        cells[index] = Err(Missing::NotRun("interrupted".into()))
                    }
                    Err(missing) => cells[index] = Err(missing),
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

    /// An empty list of samples, or the reason why there will be none. A subject that failed with
    /// fewer connections is not tried with more: it would take long and show nothing new.
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
        // If the capacity is known, the server need not be started to learn it.
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

    /// Starts a forkchat server or the bare broadcaster, and connects the clients.
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

    /// The faults that the bare broadcaster makes on request; none if the clients send no lines.
    fn fault_for(&self, shape: Shape) -> Option<Fault> {
        self.options.fault.filter(|_| shape.has_lines())
    }

    fn write(&self, path: &Path, unfinished: Option<&str>) -> Result<(), String> {
        std::fs::write(path, document(&self.report(unfinished)))
            .map_err(context(&format!("cannot write the report to {}", path.display())))
            .map_err(|error| {
                if self.rows.is_empty() {
                    format!("{error}; give --report FILE with a file that can be written")
                } else {
                    error
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

    /// Which model to choose, as lines of text.
    fn recommendation(&self) -> Vec<String> {
        let report = self.report(None);
        let models = report.models();
        let metrics = report.metrics(&models);
        let Some(decision) = Decision::new(&metrics, &models) else { return Vec::new() };
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

/// The command that repeats the run, quoted for a shell.
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
    fn the_command_can_be_typed_again() {
        let arguments =
            ["--models=pool,process", "--report", "it's here.html", ""].map(str::to_owned);
        assert_eq!(
            command(arguments.into_iter()),
            r"tests/load-test.sh --models=pool,process --report 'it'\''s here.html' ''"
        );
    }
}
