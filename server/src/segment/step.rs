//! Points at which the simulation may kill a process. In a real process they do nothing.

/// One thing that another process could see is done, or about to be done.
#[inline]
pub fn step() {
    #[cfg(test)]
    simulated::step();
}

/// The simulation's side.
#[cfg(test)]
pub mod simulated {
    use std::cell::Cell;
    use std::panic::resume_unwind;

    thread_local! {
        static STEPS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// What a process that was cut off unwinds with.
    pub struct CutOff;

    /// The simulated process on this thread is cut off after so many steps; `None` for never.
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
