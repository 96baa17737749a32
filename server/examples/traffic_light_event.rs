//! An event: a flag that one process sets and clears, and others wait for.
//!
//! Watch for: cars stop while the light is red and go on together when it turns green; a car that comes at green doesn't stop at all; a light that is green
//! for a moment only still lets those go who waited; and the light goes on when its keeper is killed, since the flag belongs to nobody.
//!
//! At work in the server: the start gate, at which all processes wait until the last is there (`supervisor/spawn.rs`), and the end, which all
//! find announced, also those who are started while it is under way (`supervisor/stop.rs`).

mod stage;

use forkchat_server::ipc::event::Event;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use stage::{Attempt, Failure, PATIENCE, say, wait_until, went_well};
use std::thread::sleep;
use std::time::Instant;

fn main() -> Result<(), Failure> {
    let (green, waiting) = (Event::map("green").cannot("map the light")?, Value::map("waiting").cannot("map a count")?);
    say!("the light is red; is it green? {}", green.is_set());
    let start = |name: &'static str| Process::start(move || drive(name, green, waiting)).cannot(format!("start {name}"));

    let mut early = ["anna's car", "berta's car", "clara's car"].into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
    wait_until_they_stand(&mut early, waiting, 3)?;
    say!("the light turns green");
    green.set();
    join(early)?;
    join(vec![start("dora's car")?])?;

    say!("the light turns red");
    green.clear();
    let mut late = ["emma's car", "frida's car"].into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
    wait_until_they_stand(&mut late, waiting, 6)?;
    say!("the light turns green and at once red again");
    green.set();
    green.clear();
    join(late)?;

    let mut last = vec![start("greta's car")?];
    wait_until_they_stand(&mut last, waiting, 7)?;
    let mut keeper = Process::start(|| {
        say!("the light's keeper turns it green, and is killed");
        green.set();
        sleep(PATIENCE);
        0
    })
    .cannot("start the light's keeper")?;
    join(last)?;
    keeper.kill();
    say!("the keeper: {}; is it green? {}", keeper.join(), green.is_set());
    Ok(())
}

/// A car comes to the crossing. Returns 0 if it got across.
fn drive(name: &str, green: Event, waiting: Value) -> i32 {
    if !green.is_set() {
        say!("{name} stops");
    }
    let came = Instant::now();
    waiting.increase(1);
    if !green.wait(PATIENCE) {
        say!("{name} gives up");
        return 1;
    }
    say!("{name} goes after {} ms", came.elapsed().as_millis());
    0
}

/// Until so many cars have come in all, and these do nothing but wait: the kernel says that they sleep (proc_pid_stat(5)). One that has ended never will.
fn wait_until_they_stand(cars: &mut [Process], waiting: Value, count: u64) -> Result<(), Failure> {
    let sleeps = |car: &Process| std::fs::read_to_string(format!("/proc/{}/stat", car.pid())).is_ok_and(|stat| stat.contains(") S "));
    let mut ended = None;
    wait_until("the cars to stand", || {
        ended = cars.iter_mut().position(|car| !car.is_alive());
        ended.is_some() || waiting.get() >= count && cars.iter().all(sleeps)
    })?;
    ended.map_or(Ok(()), |ended| Err(Failure(format!("a car that was to wait, pid {}: {}", cars[ended].pid(), cars[ended].join()))))
}

fn join(cars: Vec<Process>) -> Result<(), Failure> {
    cars.into_iter().try_for_each(|mut car| went_well(format!("a car, pid {}", car.pid()), car.join()))
}
