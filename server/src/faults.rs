//! Faults on purpose, for tests. No release build has them: they need debug assertions, and
//! `FORKCHAT_FAULT` in the environment.
//!
//! | `FORKCHAT_FAULT` | effect |
//! |---|---|
//! | `read-first` | a worker takes input out of the kernel before it is in the log: the negative control of every test of recovery |
//! | `deadly` | a line of chat makes the process fail that works on it: `die in decoding`, `die in applying`, `spin in applying`, `die in rendering` |

/// What is about to be done with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Input is cut into lines.
    Decoding,
    /// A record is applied.
    Applying,
    /// Somebody is sent what was rendered.
    Rendering,
}

/// Whether input is taken out of the kernel before it is in the log.
pub fn reads_first() -> bool {
    #[cfg(debug_assertions)]
    return deliberate::mode() == "read-first";
    #[cfg(not(debug_assertions))]
    false
}

/// Dies here if the bytes say so.
#[inline]
pub fn strike(act: Act, bytes: &[u8]) {
    #[cfg(debug_assertions)]
    deliberate::strike(act, bytes);
    #[cfg(not(debug_assertions))]
    let _ = (act, bytes);
}

#[cfg(debug_assertions)]
mod deliberate {
    use super::Act;
    use std::sync::OnceLock;

    pub fn mode() -> &'static str {
        static MODE: OnceLock<String> = OnceLock::new();
        MODE.get_or_init(|| std::env::var("FORKCHAT_FAULT").unwrap_or_default())
    }

    pub fn strike(act: Act, bytes: &[u8]) {
        if mode() != "deadly" {
            return;
        }
        let says = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        match act {
            Act::Decoding if says("die in decoding") => panic!("as it was told"),
            Act::Applying if says("die in applying") => panic!("as it was told"),
            Act::Applying if says("spin in applying") => loop {
                std::hint::spin_loop();
            },
            Act::Rendering if says("die in rendering") => panic!("as it was told"),
            _ => {}
        }
    }
}
