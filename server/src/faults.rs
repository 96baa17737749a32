//! Fault injection for tests. It works only with debug assertions, which no release build has, and
//! with `FORKCHAT_FAULT` in the environment.
//!
//! | `FORKCHAT_FAULT` | effect |
//! |---|---|
//! | `read-first` | a worker takes input out of the kernel before it is in the log: the negative control of all recovery tests |
//! | `deadly` | the process that handles a line with one of these texts fails: `die in decoding`, `die in applying`, `spin in applying`, `die in rendering` |

/// A step in the processing of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Input is cut into lines.
    Decoding,
    /// A record is applied.
    Applying,
    /// Rendered bytes are put into an outbox.
    Rendering,
}

/// Whether input is to be consumed before it is in the log.
pub fn reads_first() -> bool {
    #[cfg(debug_assertions)]
    return deliberate::mode() == "read-first";
    #[cfg(not(debug_assertions))]
    false
}

/// Panics, or never returns, if the bytes contain the text for this step.
#[inline]
pub fn inject_fault(step: Step, bytes: &[u8]) {
    #[cfg(debug_assertions)]
    deliberate::inject_fault(step, bytes);
    #[cfg(not(debug_assertions))]
    let _ = (step, bytes);
}

#[cfg(debug_assertions)]
mod deliberate {
    use super::Step;
    use std::sync::OnceLock;

    pub fn mode() -> &'static str {
        static MODE: OnceLock<String> = OnceLock::new();
        MODE.get_or_init(|| std::env::var("FORKCHAT_FAULT").unwrap_or_default())
    }

    pub fn inject_fault(step: Step, bytes: &[u8]) {
        if mode() != "deadly" {
            return;
        }
        let says = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        match step {
            Step::Decoding if says("die in decoding") => panic!("an injected fault"),
            Step::Applying if says("die in applying") => panic!("an injected fault"),
            Step::Applying if says("spin in applying") => loop {
                std::hint::spin_loop();
            },
            Step::Rendering if says("die in rendering") => panic!("an injected fault"),
            _ => {}
        }
    }
}
