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
use stage::say;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(10);

fn main() -> io::Result<()> {
    let (green, waiting) = (Event::map("green")?, Value::map("waiting")?);
    say!("the light is red; is it green? {}", green.is_set());
    let start = |name: &'static str| Process::start(move || drive(name, green, waiting));

    let early = ["anna's car", "berta's car", "clara's car"].into_iter().map(start).collect::<io::Result<Vec<_>>>()?;
    wait_until_they_stand(&early, waiting, 3);
    say!("the light turns green");
    green.set();
    join(early);
    join(vec![start("dora's car")?]);

    say!("the light turns red");
    green.clear();
    let late = ["emma's car", "frida's car"].into_iter().map(start).collect::<io::Result<Vec<_>>>()?;
    wait_until_they_stand(&late, waiting, 6);
    say!("the light turns green and at once red again");
    green.set();
    green.clear();
    join(late);

    let last = vec![start("greta's car")?];
    wait_until_they_stand(&last, waiting, 7);
    let mut keeper = Process::start(|| {
        say!("the light's keeper turns it green, and is killed");
        green.set();
        sleep(LONG);
        0
    })?;
    join(last);
    keeper.kill();
    say!("the keeper {}; is it green? {}", keeper.join(), green.is_set());
    Ok(())
}

/// A car comes to the crossing. Returns 0 if it got across.
fn drive(name: &str, green: Event, waiting: Value) -> i32 {
    if !green.is_set() {
        say!("{name} stops");
    }
    let came = Instant::now();
    waiting.increase(1);
    if !green.wait(LONG) {
        say!("{name} gives up");
        return 1;
    }
    say!("{name} goes after {} ms", came.elapsed().as_millis());
    0
}

/// Until so many cars have come in all, and these do nothing but wait: the kernel says that they sleep (proc_pid_stat(5)).
fn wait_until_they_stand(cars: &[Process], waiting: Value, count: u64) {
    let sleeps = |car: &Process| std::fs::read_to_string(format!("/proc/{}/stat", car.pid())).is_ok_and(|stat| stat.contains(") S "));
    while waiting.get() < count || !cars.iter().all(sleeps) {
        sleep(Duration::from_millis(20));
    }
}

fn join(cars: Vec<Process>) {
    for mut car in cars {
        assert_eq!(car.join().to_string(), "exited with code 0");
    }
}
