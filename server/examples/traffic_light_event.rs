//! An event: a flag that one process sets and clears, and other processes wait for.
//!
//! In the server: the start gate, at which all processes wait until the last one is there
//! (`supervisor/starting.rs`), and the announced end, which also the processes find that are
//! started while it is under way (`supervisor/stop.rs`).

mod stage;

use forkchat_server::ipc::event::Event;
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Value;
use stage::proc::state;
use stage::{
    Attempt, Failure, Lesson, ended, nap, part, patience, say, shown, slowed, wait_until, went_well,
};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

const LESSON: Lesson = Lesson {
    about: [
        "A traffic light: an event for which many processes wait",
        "红绿灯：多个进程等待同一个事件",
    ],
    watch_for: &[
        [
            "the cars come at different times; those that wait go together when the light turns green",
            "汽车陆续到来；绿灯一亮，等待的汽车一起开走",
        ],
        ["a car that comes while the light is green does not stop", "绿灯时到来的汽车不停车"],
        [
            "a wait with a timeout ends without the event: that car turns round",
            "带超时的等待没等到事件也会结束：那辆车掉头离开",
        ],
        [
            "a green of a moment lets all go that waited before it",
            "绿灯只亮一瞬间，之前在等的汽车也都能走",
        ],
        [
            "the light works on when the process that set it is killed: the flag belongs to no process",
            "设置它的进程被杀死后灯照常工作：标志不属于任何进程",
        ],
    ],
};
/// The exit code of a car that waited in vain.
const GAVE_UP: i32 = 2;
const IN_A_HURRY: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let crossing = Crossing::build()?;
        let together = red_and_green(&crossing)?;
        gives_up(&crossing)?;
        green_for_a_moment(&crossing)?;
        keeper_is_killed(&crossing)?;
        shown!(
            "{} cars crossed, 1 gave up after {} ms; the first three waited {together:?} ms, each from its own arrival, and went together",
            "{} 辆车通过，1 辆等了 {} 毫秒后放弃；最初三辆从各自到达算起等了 {together:?} 毫秒，然后一起开走",
            crossing.crossed.get(),
            slowed(IN_A_HURRY).as_millis()
        );
        Ok(())
    })
}

fn red_and_green(crossing: &Crossing) -> Result<Vec<u64>, Failure> {
    part!("the light is red; three cars come", "红灯；来了三辆车");
    say!("is the light green? {}", "是绿灯吗？{}", crossing.green.is_set());
    let mut cars = [
        crossing.car("anna", 100, patience())?,
        crossing.car("berta", 250, patience())?,
        crossing.car("clara", 400, patience())?,
    ];
    wait_until_they_stand(&mut cars)?;
    nap(200);
    crossing.turn(true);
    for car in &mut cars {
        car.crosses()?;
    }
    part!("the light is green; a car comes", "绿灯；来了一辆车");
    crossing.car("dora", 150, patience())?.crosses()?;
    nap(150);
    Ok(cars.iter().map(|car| car.waited_ms.get()).collect())
}

fn gives_up(crossing: &Crossing) -> Result<(), Failure> {
    part!("the light is red for long; emma is in a hurry", "红灯时间很长；emma 赶时间");
    crossing.turn(false);
    let mut emma = crossing.car("emma", 50, slowed(IN_A_HURRY))?;
    let mut frida = [crossing.car("frida", 150, patience())?];
    let end = emma.process.join();
    say!("emma's car {}", "emma 的车{}", ended(end));
    if end != End::Exited(GAVE_UP) {
        return Err(Failure(format!("emma's car, pid {}, {end}", emma.process.pid())));
    }
    wait_until_they_stand(&mut frida)?;
    nap(100);
    crossing.turn(true);
    frida[0].crosses()?;
    nap(200);
    Ok(())
}

fn green_for_a_moment(crossing: &Crossing) -> Result<(), Failure> {
    part!("the light is green for a moment only", "绿灯只亮一瞬间");
    crossing.turn(false);
    let mut cars =
        [crossing.car("greta", 50, patience())?, crossing.car("hanna", 120, patience())?];
    wait_until_they_stand(&mut cars)?;
    nap(150);
    say!("THE LIGHT TURNS GREEN and at once red again", "绿灯亮了，马上又变红");
    crossing.green.set();
    // A car that is not awake yet notices all the same that the light was green in between.
    crossing.green.clear();
    cars.iter_mut().try_for_each(Car::crosses)?;
    nap(200);
    Ok(())
}

fn keeper_is_killed(crossing: &Crossing) -> Result<(), Failure> {
    part!("another process turns the light green and is killed", "另一个进程把灯变绿，然后被杀死");
    let mut ida = [crossing.car("ida", 50, patience())?];
    wait_until_they_stand(&mut ida)?;
    nap(150);
    let mut keeper = Process::start(|| {
        crossing.turn(true);
        sleep(patience());
        0
    })
    .cannot("start the keeper of the light")?;
    ida[0].crosses()?;
    keeper.kill();
    say!(
        "the keeper, pid {}, {}; is the light green? {}",
        "管灯的进程（pid {}）{}；是绿灯吗？{}",
        keeper.pid(),
        ended(keeper.join()),
        crossing.green.is_set()
    );
    crossing.car("jana", 100, patience())?.crosses()
}

/// The crossing, in memory that all cars share.
#[derive(Clone, Copy)]
struct Crossing {
    green: Event,
    crossed: Value,
}

impl Crossing {
    fn build() -> Result<Crossing, Failure> {
        let (green, crossed) = (
            Event::map("example-green").cannot("map the light")?,
            Value::map("example-crossed").cannot("map a count")?,
        );
        Ok(Crossing { green, crossed })
    }

    fn turn(&self, to_green: bool) {
        if to_green {
            say!("THE LIGHT TURNS GREEN", "绿灯亮了");
            self.green.set();
        } else {
            say!("THE LIGHT TURNS RED", "红灯亮了");
            self.green.clear();
        }
    }

    /// A car that comes after so many milliseconds and waits at most for `timeout`.
    fn car(
        &self,
        name: &'static str,
        comes_after_ms: u64,
        timeout: Duration,
    ) -> Result<Car, Failure> {
        let (came, waited_ms) = (
            Value::map("example-came").cannot("map a flag")?,
            Value::map("example-waited").cannot("map a time")?,
        );
        let process = Process::start(|| {
            nap(comes_after_ms);
            self.drive(name, timeout, came, waited_ms)
        });
        Ok(Car { name, process: process.cannot(format!("start {name}'s car"))?, came, waited_ms })
    }

    /// What a car does. Returns its exit code.
    fn drive(&self, name: &str, timeout: Duration, came: Value, waited_ms: Value) -> i32 {
        let arrival = Instant::now();
        let stops = !self.green.is_set();
        if stops {
            say!("{name}'s car comes and stops", "{name} 的车到了，停下");
        } else {
            say!("{name}'s car comes and does not stop", "{name} 的车到了，不停车");
        }
        came.set(1);
        let is_green = self.green.wait(timeout);
        let waited = arrival.elapsed().as_millis() as u64;
        waited_ms.set(waited);
        if !is_green {
            say!(
                "{name}'s car gives up after {waited} ms and turns round",
                "{name} 的车等了 {waited} 毫秒后放弃，掉头离开"
            );
            return GAVE_UP;
        }
        if stops {
            say!("{name}'s car goes after {waited} ms", "{name} 的车等了 {waited} 毫秒，开走");
        }
        self.crossed.increase(1);
        0
    }
}

/// A car, as the parent process has it.
struct Car {
    name: &'static str,
    process: Process,
    came: Value,
    waited_ms: Value,
}

impl Car {
    /// Waits until it is across.
    fn crosses(&mut self) -> Result<(), Failure> {
        went_well(format!("{}'s car, pid {},", self.name, self.process.pid()), self.process.join())
    }

    /// It has come and does nothing but wait: the kernel reports that it sleeps.
    fn stands(&self) -> bool {
        self.came.get() == 1 && state(self.process.pid()) == Some('S')
    }
}

/// Fails if a car ends that should stand.
fn wait_until_they_stand(cars: &mut [Car]) -> Result<(), Failure> {
    let mut ended = None;
    wait_until("the cars to stand", || {
        ended = cars.iter_mut().position(|car| !car.process.is_alive());
        ended.is_some() || cars.iter().all(Car::stands)
    })?;
    ended.map_or(Ok(()), |ended| {
        let car = &mut cars[ended];
        Err(Failure(format!(
            "{}'s car, pid {}, {} before the light was green",
            car.name,
            car.process.pid(),
            car.process.join()
        )))
    })
}
