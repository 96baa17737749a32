//! Points at which the simulation may kill a process. They do nothing in a real process.

/// Marks the point before or after a change that another process can see.
#[inline]
pub fn step() {
    #[cfg(test)]
    simulated::step();
}

/// The simulation's side of it.
#[cfg(test)]
pub mod simulated {
    use std::cell::Cell;
    use std::panic::resume_unwind;

    thread_local! {
        static STEPS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// The panic payload of a simulated process that was killed.
    pub struct CutOff;

    /// Kills the simulated process on this thread after `steps` steps; `None` for never.
    pub fn cut_off_after(steps: Option<usize>) {
        STEPS_LEFT.set(steps);
    }

    pub(super) fn step() {
        match STEPS_LEFT.get() {
            None => {}
            Some(0) => {
                STEPS_LEFT.set(None);
                resume_unwind(Box::new(CutOff));
            }
            Some(left) => STEPS_LEFT.set(Some(left - 1)),
        }
    }
}
